"""The life of a worker, every state with every input; and how long to wait for its successor."""

import pytest
from automat import NoTransition
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.process.lifecycle import Backoff, live


class Log:
    """Writes down what its life calls."""

    def __init__(self):
        self.state = "starting"
        self.calls = []

    def became_ready(self):
        self.calls.append("ready")

    def tell_drain(self, grace):
        self.calls.append(("drain", grace))

    def end(self):
        self.calls.append("end")

    def stopped_serving(self):
        self.calls.append("stopped")

    def became_gone(self, why):
        self.calls.append(("gone", why))


INPUTS = {
    "serving": lambda life: life.serving(),
    "drain": lambda life: life.drain(5.0),
    "lost": lambda life: life.lost(),
    "exited": lambda life: life.exited("why"),
}
WAYS = {"starting": [], "ready": ["serving"], "draining": ["serving", "drain"], "gone": ["exited"]}
TABLE = {
    ("starting", "serving"): ("ready", ["ready"]),
    ("starting", "drain"): ("draining", ["end"]),
    ("starting", "lost"): ("draining", ["end"]),
    ("starting", "exited"): ("gone", [("gone", "why")]),
    ("ready", "serving"): None,
    ("ready", "drain"): ("draining", [("drain", 5.0), "stopped"]),
    ("ready", "lost"): ("draining", ["stopped"]),
    ("ready", "exited"): ("gone", ["stopped", ("gone", "why")]),
    ("draining", "serving"): ("draining", []),
    ("draining", "drain"): ("draining", [("drain", 5.0)]),
    ("draining", "lost"): ("draining", []),
    ("draining", "exited"): ("gone", [("gone", "why")]),
    ("gone", "serving"): None,
    ("gone", "drain"): ("gone", []),
    ("gone", "lost"): ("gone", []),
    ("gone", "exited"): None,
}


@pytest.mark.parametrize(("state", "event"), [(state, event) for state in WAYS for event in INPUTS])
def test_every_state_answers_every_input_as_the_table_says(state, event):
    subject = Log()
    life = live(subject)
    for each in WAYS[state]:
        INPUTS[each](life)
    assert subject.state == state
    subject.calls.clear()

    expected = TABLE[state, event]
    if expected is None:
        with pytest.raises(NoTransition):
            INPUTS[event](life)
    else:
        INPUTS[event](life)
        assert (subject.state, subject.calls) == expected


def test_those_who_die_young_wait_twice_as_long_each_time_up_to_the_longest():
    backoff = Backoff(0.1, 1.0)
    assert [backoff.pause(0.5) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_one_that_lived_long_is_followed_soon():
    backoff = Backoff(0.1, 1.0)
    for _ in range(5):
        backoff.pause(0.0)
    assert backoff.pause(1.5) == 0.1
    assert backoff.pause(0.0) == 0.2


@given(st.lists(st.floats(0, 100)), st.floats(0.01, 1), st.floats(1, 60))
def test_a_pause_is_never_outside_of_its_bounds(lives, first, longest):
    backoff = Backoff(first, longest)
    assert all(first <= backoff.pause(lived) <= longest for lived in lives)
