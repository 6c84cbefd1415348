import pytest

from suuupra_gateway.auth import memory as module
from suuupra_gateway.auth.memory import Decision, Memory
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.auth.tables import EVERYTHING
from suuupra_gateway.config.model import CacheSpec
from suuupra_gateway.policy.clocks import Clocks, Phase, Wishes
from tests.auth.clock import Time

ALLOW = Decision(True, b"yes", tags=("subject:ada",))
DENY = Decision(False, b"no")


def decode(decision):
    if decision.value == b"unreadable":
        raise ValueError("of another release")
    return [decision.value]


class World:
    """One provider's decisions in some processes of one host."""

    def __init__(self, shared=None):
        self.time = Time()
        self.shared = shared

    def memory(self, *, meaning="corp", limit=100, decode=decode):
        return Memory(
            Clocks.of(CacheSpec()), decode, shared=self.shared, meaning=meaning, limit=limit, wall=self.time.wall
        )

    def keep(self, memory, key, decision=ALLOW, decided=None):
        now = self.time.now
        made = memory.keep(key, decision, now if decided is None else decided, now)
        if self.shared is not None:
            assert self.shared.flush(10)
        return made

    def known(self, memory, key):
        entry, phase = memory.known(key, self.time.now)
        return (entry.decision.value if entry is not None else None), phase


@pytest.fixture
def alone():
    return World()


@pytest.fixture
def host(tmp_path):
    shared = Shared.open(str(tmp_path))
    yield World(shared)
    shared.close()


def key(number=0):
    return b"%016d" % number


OVER = (None, Phase.OVER)


def test_keys_depend_on_every_part_and_where_it_ends(alone):
    memory = alone.memory()
    keys = {memory.key(*parts) for parts in [(b"ab",), (b"a", b"b"), (b"", b"ab"), (b"ab", b""), (b"1:a",)]}
    assert len(keys) == 5
    assert memory.key(b"ab") in keys
    assert {len(each) for each in keys} == {16}


def test_keys_mean_nothing_elsewhere(alone):
    assert alone.memory().key(b"a") != alone.memory().key(b"a")


def test_processes_of_a_host_have_the_same_keys(host):
    assert host.memory().key(b"a") == host.memory().key(b"a")


def test_a_decision_goes_through_its_clocks(alone):
    memory = alone.memory()
    assert alone.known(memory, key()) == OVER
    assert alone.keep(memory, key()) == [b"yes"]
    found = []
    for seconds in (0, 30, 30, 300):
        alone.time.advance(seconds)
        found.append(alone.known(memory, key()))
    assert found == [(b"yes", Phase.FRESH), (b"yes", Phase.REVALIDATE), (b"yes", Phase.STALE), OVER]


def test_it_is_made_once(alone):
    memory = alone.memory()
    made = alone.keep(memory, key())
    assert memory.known(key(), alone.time.now)[0].made is made


def test_nothing_is_used_beyond_its_expiry_whichever_clock_says_so(alone):
    memory = alone.memory()
    alone.keep(memory, key(), Decision(True, b"yes", expires=alone.time.wall() + 40))
    alone.time.advance(39.9)
    assert alone.known(memory, key()) == (b"yes", Phase.REVALIDATE)
    assert memory.entries[key()].ends == pytest.approx(1040.0)
    alone.time.advance(0.2)
    assert alone.known(memory, key()) == OVER
    alone.keep(memory, key(), Decision(True, b"yes", expires=alone.time.wall() + 40))
    alone.time.set(50)
    assert alone.known(memory, key()) == OVER


def test_a_wall_clock_that_is_set_back_prolongs_nothing(alone):
    memory = alone.memory()
    alone.keep(memory, key())
    alone.time.set(-10_000)
    alone.time.advance(361)
    assert alone.known(memory, key()) == OVER


def test_a_decision_is_as_old_as_its_question(alone):
    memory = alone.memory()
    alone.keep(memory, key(), decided=alone.time.now - 31)
    assert alone.known(memory, key()) == (b"yes", Phase.REVALIDATE)


def test_a_refusal_replaces_what_let_in_for_good(alone):
    memory = alone.memory()
    alone.keep(memory, key())
    alone.time.advance(70)
    alone.keep(memory, key(), DENY)
    assert alone.known(memory, key()) == (b"no", Phase.FRESH)
    alone.time.advance(5)
    assert alone.known(memory, key()) == OVER


def test_what_may_not_be_kept_replaces_too(alone):
    memory = alone.memory()
    alone.keep(memory, key())
    assert alone.keep(memory, key(), Decision(True, b"once", wishes=Wishes(keep=False))) == [b"once"]
    assert alone.known(memory, key()) == OVER
    assert memory.survivors(alone.time.now).active == 1
    alone.keep(memory, key())
    assert memory.survivors(alone.time.now).active == 1


def test_callers_of_whom_nothing_may_be_kept_are_counted_up_to_a_limit(alone, monkeypatch):
    monkeypatch.setattr(module, "_UNKEPT", 32)
    memory = alone.memory()
    for number in range(100):
        alone.keep(memory, key(number), Decision(True, wishes=Wishes(keep=False)))
    assert 16 <= memory.survivors(alone.time.now).active <= 32


def test_memory_is_bounded_and_the_oldest_go_first(alone):
    memory = alone.memory(limit=64)
    for number in range(1000):
        alone.keep(memory, key(number))
        assert len(memory) <= 64
    assert list(memory.entries) == [key(number) for number in range(1000 - len(memory), 1000)]
    assert len(memory._by_tag["subject:ada"]) == len(memory)


def test_made_up_credentials_push_out_nobody(alone):
    memory = alone.memory(limit=64)
    for number in range(64):
        alone.keep(memory, key(number))
    for number in range(1000, 2000):
        alone.keep(memory, key(number), DENY)
    assert len(memory.entries) == 64
    assert len(memory) <= 64 + 9


def test_with_others_behind_it_a_process_keeps_less_itself(host, monkeypatch):
    monkeypatch.setattr(module, "OWN", 32)
    memory = host.memory(limit=1000)
    for number in range(100):
        memory.keep(key(number), ALLOW, 1000.0, 1000.0)
    host.shared.flush(10)
    assert len(memory) <= 32
    assert host.known(memory, key(0)) == (b"yes", Phase.FRESH)


def test_the_tag_of_a_caller_takes_all_their_decisions_back(alone):
    memory = alone.memory()
    alone.keep(memory, key(1))
    alone.keep(memory, key(2))
    alone.keep(memory, key(3), Decision(True, b"bob", tags=("subject:bob", "token:1")))
    memory.revoke(["subject:ada", "subject:nobody"], alone.time.now)
    assert [alone.known(memory, key(number))[0] for number in (1, 2, 3)] == [None, None, b"bob"]
    memory.revoke(["token:1"], alone.time.now)
    assert alone.known(memory, key(3)) == OVER
    assert memory._by_tag == {}


def test_doubt_makes_everybody_be_asked_about_anew(alone):
    memory = alone.memory()
    alone.keep(memory, key(1))
    alone.keep(memory, key(2), DENY)
    memory.revoke([EVERYTHING], alone.time.now)
    assert alone.known(memory, key(1)) == (b"yes", Phase.STALE)
    assert alone.known(memory, key(2)) == (b"no", Phase.FRESH)
    alone.keep(memory, key(1), decided=alone.time.now - 1)
    assert alone.known(memory, key(1)) == (b"yes", Phase.STALE)
    alone.time.advance(1)
    alone.keep(memory, key(1))
    assert alone.known(memory, key(1)) == (b"yes", Phase.FRESH)


def test_what_was_asked_before_a_revocation_is_overtaken_by_it(alone):
    memory = alone.memory()
    now = alone.time.now
    assert not memory.overtaken(ALLOW, now)
    memory.revoke(["subject:bob"], now)
    assert not memory.overtaken(ALLOW, now)
    memory.revoke(["subject:ada"], now)
    assert memory.overtaken(ALLOW, now)
    assert memory.overtaken(ALLOW, now - 1)
    assert not memory.overtaken(ALLOW, now + 1)


def test_what_was_asked_before_a_doubt_is_overtaken_by_it(alone):
    memory = alone.memory()
    memory.revoke([EVERYTHING], alone.time.now)
    assert memory.overtaken(DENY, alone.time.now)
    assert not memory.overtaken(DENY, alone.time.now, doubt=False)
    assert not memory.overtaken(DENY, alone.time.now + 1)


def test_revoked_tags_are_remembered_up_to_a_limit(alone, monkeypatch):
    monkeypatch.setattr(module, "MARKS", 32)
    memory = alone.memory()
    memory.revoke([f"subject:{number}" for number in range(33)], alone.time.now)
    assert len(memory._marks) <= 32
    assert memory.overtaken(Decision(True, tags=("subject:32",)), alone.time.now)


# -- with others ------------------------------------------------------------------------------------------------------


def test_what_one_process_learns_all_know(host):
    one, two = host.memory(), host.memory()
    host.keep(one, key())
    host.time.advance(10)
    assert host.known(two, key()) == (b"yes", Phase.FRESH)
    host.time.advance(30)
    assert host.known(two, key()) == (b"yes", Phase.REVALIDATE)


def test_decisions_of_another_meaning_are_not_found(host):
    host.keep(host.memory(meaning="https://old.example"), key())
    assert host.known(host.memory(meaning="https://new.example"), key()) == OVER


def test_whoever_is_no_longer_fresh_is_looked_up_again_now_and_then(host):
    one, two = host.memory(), host.memory()
    host.keep(one, key())
    host.keep(two, key())
    host.time.advance(31)
    assert host.known(two, key()) == (b"yes", Phase.REVALIDATE)
    host.keep(one, key(), Decision(True, b"new"))
    assert host.known(two, key()) == (b"yes", Phase.REVALIDATE)
    host.time.advance(0.5)
    assert host.known(two, key()) == (b"new", Phase.FRESH)


def test_a_refusal_elsewhere_ends_what_let_in_here(host):
    one, two = host.memory(), host.memory()
    host.keep(one, key())
    host.keep(two, key())
    host.time.advance(61)
    host.keep(one, key(), DENY)
    host.time.advance(6)
    assert host.known(two, key()) == OVER
    assert host.known(one, key()) == OVER
    assert key() not in two.entries


def test_what_is_over_here_may_be_known_elsewhere_at_once(host):
    one, two = host.memory(), host.memory()
    host.keep(two, key(), DENY)
    host.time.advance(5)
    assert host.known(two, key()) == OVER
    host.keep(one, key())
    assert host.known(two, key()) == (b"yes", Phase.FRESH)


def test_what_may_not_be_kept_is_kept_nowhere(host):
    one, two = host.memory(), host.memory()
    host.keep(one, key())
    host.keep(one, key(), Decision(True, b"once", wishes=Wishes(keep=False)))
    assert host.known(two, key()) == OVER


def test_a_revocation_reaches_those_who_start_later(host):
    one = host.memory()
    host.keep(one, key())
    one.revoke(["subject:ada"], host.time.now)
    host.shared.flush(10)
    host.time.advance(1)
    assert host.known(host.memory(), key()) == OVER


def test_a_doubt_reaches_those_who_start_later(host):
    one = host.memory()
    host.keep(one, key())
    one.revoke([EVERYTHING], host.time.now)
    host.shared.flush(10)
    assert host.known(host.memory(), key()) == (b"yes", Phase.STALE)


def test_a_revocation_holds_before_it_is_written(host):
    one, two = host.memory(), host.memory()
    host.keep(one, key())
    two._shared, shared = None, two._shared  # as slow as can be
    two.revoke(["subject:ada"], host.time.now)
    two._shared = shared
    assert host.known(two, key()) == OVER


def test_what_cannot_be_read_is_not_there(host):
    host.keep(host.memory(decode=lambda decision: None), key(), Decision(True, b"unreadable"))
    assert host.known(host.memory(), key()) == OVER


def test_what_was_decided_in_the_future_is_not_there(host):
    one = host.memory()
    host.keep(one, key(), decided=host.time.now + 10)
    assert host.known(host.memory(), key()) == OVER
