"""
The states of an exchange: every pair is either a step or impossible, and no third thing.
"""

from itertools import product
from pathlib import Path

import pytest

from suuupra_gateway.http import cycle
from tests.http.draw_cycle import page

REQUEST = range(len(cycle.REQUEST_STATES))
ANSWER = range(len(cycle.ANSWER_STATES))


@pytest.mark.parametrize(("event", "state"), list(product(cycle.REQUEST_EVENTS, REQUEST)))
def test_every_event_has_a_say_in_every_state_of_the_request(event, state):
    table = cycle.REQUEST_EVENTS[event]
    assert len(table) == len(REQUEST)
    assert table[state] == cycle.NEVER or table[state] in REQUEST


@pytest.mark.parametrize(("event", "state"), list(product(cycle.ANSWER_EVENTS, ANSWER)))
def test_every_event_has_a_say_in_every_state_of_the_answer(event, state):
    table = cycle.ANSWER_EVENTS[event]
    assert len(table) == len(ANSWER)
    assert table[state] == cycle.NEVER or table[state] in ANSWER


@pytest.mark.parametrize(("request_state", "answer"), list(product(REQUEST, ANSWER)))
def test_every_pair_of_states_has_a_step_or_cannot_be(request_state, answer):
    step = cycle.STEP[request_state][answer]
    assert step == cycle.NEVER or 0 <= step < len(cycle.STEPS)
    assert (step == cycle.NEVER) == ((request_state, answer) not in reachable())


def reachable():
    """All pairs that some order of events leads to, but for detaching while bytes of the request are due."""
    pairs = {(cycle.RECEIVING, cycle.WAITING), (cycle.RECEIVED, cycle.WAITING), (cycle.BROKEN, cycle.WAITING)}
    while True:
        more = set()
        for request, answer in pairs:
            more |= {(table[request], answer) for table in cycle.REQUEST_EVENTS.values()}
            more |= {
                (request, table[answer])
                for table in cycle.ANSWER_EVENTS.values()
                if table is not cycle.DETACH or request == cycle.RECEIVED
            }
        more = {pair for pair in more if cycle.NEVER not in pair} - pairs
        if not more:
            return pairs
        pairs |= more


@pytest.mark.parametrize("state", [cycle.SENT, cycle.DETACHED])
def test_an_answer_that_is_over_takes_nothing_more(state):
    events = [cycle.START, cycle.SEND, cycle.FINISH, cycle.DETACH]
    assert {table[state] for table in events} == {cycle.NEVER}
    assert cycle.STOP[state] == state


def test_an_answer_that_was_cut_swallows_everything_but_a_new_owner():
    assert {table[cycle.CUT] for table in (cycle.START, cycle.SEND, cycle.FINISH, cycle.STOP)} == {cycle.CUT}
    assert cycle.DETACH[cycle.CUT] == cycle.NEVER


def test_only_two_complete_halves_make_room_for_the_next_request():
    places = [
        (request, answer) for request, answer in product(REQUEST, ANSWER) if cycle.STEP[request][answer] == cycle.NEXT
    ]
    assert places == [(cycle.RECEIVED, cycle.SENT)]


def test_a_cut_answer_always_aborts():
    assert {steps[cycle.CUT] for steps in cycle.STEP} == {cycle.ABORT}


def test_an_impossible_step_names_both_sides():
    error = cycle.impossible("write", cycle.SENT)
    assert str(error) == "write while the answer is SENT"


def test_the_documents_show_the_tables_as_they_are():
    """If not: ``python -m tests.http.draw_cycle``."""
    assert Path(__file__, "../../../docs/cycle.rst").resolve().read_text("utf-8") == page()
