"""The connections of one peer: reuse, bounds, waiting."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from suuupra_gateway.config.model import PoolSpec
from suuupra_gateway.errors import ConnectRefused, NoPeer, PoolFull
from suuupra_gateway.http.connection import UpstreamConnection
from suuupra_gateway.http.hygiene import AnswerNames
from suuupra_gateway.http.pool import Pool
from suuupra_gateway.net.sweep import Sweep
from tests.upstreams.rig import Network


class Case:
    def __init__(self, **spec):
        self.clock = Clock()
        self.sweep = Sweep(self.clock, monotonic=self.clock.seconds)
        self.sweep.start()
        self.network = Network()
        self.pool = Pool(self.connect, PoolSpec.model_validate(spec), 1.0, self.sweep)

    def connect(self, pool):
        return self.network.connect(None, "peer", self)

    def buildProtocol(self, address):
        return UpstreamConnection(self.pool, self.sweep, AnswerNames(), 4096)

    def get(self, **kwargs):
        """A connection, at once or by a Deferred that has fired."""
        got = self.pool.acquire(**kwargs)
        return got if isinstance(got, UpstreamConnection) else got.result


def outcome(deferred):
    heard = []
    deferred.addBoth(lambda result: heard.append(getattr(result, "value", result)))
    return heard


def test_the_first_connection_is_made_and_the_next_request_gets_it_at_once():
    case = Case()
    one = case.get()
    case.pool.release(one)
    assert case.pool.acquire() is one
    assert (case.pool.connects, case.pool.reuses, case.pool.open) == (1, 1, 1)


def test_the_newest_idle_connection_is_taken_first():
    case = Case()
    one, two = case.get(), case.get()
    case.pool.release(one)
    case.pool.release(two)
    assert case.pool.acquire() is two
    assert case.pool.acquire() is one


def test_a_fresh_connection_is_made_when_idle_ones_are_stale_unless_there_may_be_no_more():
    case = Case(connections=2)
    one = case.get()
    case.pool.release(one)
    two = case.get(fresh=True)
    assert two is not one
    case.pool.release(two)
    assert case.pool.acquire(fresh=True) is two


def test_an_idle_connection_that_closes_is_forgotten():
    case = Case()
    one = case.get()
    case.pool.release(one)
    case.network.wire.lose()
    assert case.pool.idle == []
    assert case.pool.open == 0


def test_idle_connections_expire():
    case = Case(idle_timeout="5s")
    case.pool.release(case.get())
    case.clock.pump([0.1] * 52)
    assert case.network.wire.disconnecting
    assert case.pool.idle == []
    case.network.settle()
    assert case.pool.open == 0


def test_no_more_idle_connections_are_kept_than_allowed():
    case = Case(idle=1)
    one, two = case.get(), case.get()
    case.pool.release(one)
    case.pool.release(two)
    assert case.pool.idle == [one]
    assert case.network.wires[1].disconnecting


def test_a_connection_is_retired_after_its_share_of_requests():
    case = Case(requests=2)
    one = case.get()
    one.requests = 1
    case.pool.release(one)
    assert case.pool.idle == [one]
    case.pool.acquire()
    one.requests = 2
    case.pool.release(one)
    assert case.pool.idle == []
    assert case.network.wire.disconnecting


def test_a_connection_that_is_closing_is_not_kept():
    case = Case()
    one = case.get()
    one.transport.disconnecting = True
    case.pool.release(one)
    assert case.pool.idle == []


def test_who_comes_when_all_are_in_use_waits_for_one():
    case = Case(connections=1)
    one = case.get()
    first, second = outcome(case.pool.acquire()), outcome(case.pool.acquire())
    assert case.pool.waiting == 2
    case.pool.release(one)
    assert first == [one]
    assert second == []
    case.pool.release(one)
    assert second == [one]
    assert case.pool.waiting == 0


def test_who_waits_too_long_is_refused():
    case = Case(connections=1)
    case.get()
    waiting = outcome(case.pool.acquire())
    case.clock.pump([0.1] * 12)
    assert [type(each) for each in waiting] == [PoolFull]
    assert case.pool.waiting == 0


def test_no_more_wait_than_allowed():
    case = Case(connections=1, waiting=1)
    case.get()
    case.pool.acquire()
    assert [type(each) for each in outcome(case.pool.acquire())] == [PoolFull]


def test_who_does_not_want_to_wait_any_more_leaves_the_queue():
    case = Case(connections=1)
    one = case.get()
    waiting = case.pool.acquire()
    outcome(waiting)
    waiting.cancel()
    assert case.pool.waiting == 0
    case.pool.release(one)
    assert case.pool.idle == [one]


def test_when_a_connection_is_lost_one_is_made_for_who_waits():
    case = Case(connections=1)
    case.get()
    waiting = outcome(case.pool.acquire())
    case.network.wire.lose()
    assert waiting == [case.network.wire.protocol]
    assert len(case.network.wires) == 2
    assert case.pool.open == 1


def test_who_waits_for_such_a_connection_hears_why_it_was_not_to_be_had():
    case = Case(connections=1)
    case.get()
    first, second = outcome(case.pool.acquire()), outcome(case.pool.acquire())
    case.network.failures = [ConnectRefused("no"), ConnectRefused("still no")]
    case.network.wire.lose()
    assert [type(each) for each in first + second] == [ConnectRefused, ConnectRefused]
    assert case.pool.open == 0
    assert case.pool.connect_failures == 2


def test_who_waits_for_such_a_connection_may_give_up():
    case = Case(connections=1)
    case.get()
    waiting = case.pool.acquire()
    outcome(waiting)
    case.network.slow = True
    case.network.wire.lose()
    waiting.cancel()
    assert case.network.cancelled == 1
    assert case.pool.open == 0
    assert case.pool.connect_failures == 0


def test_a_connection_that_cannot_be_made_counts_as_failed_and_not_as_open():
    case = Case()
    case.network.failures = [ConnectRefused("no")]
    assert [type(each) for each in outcome(case.pool.acquire())] == [ConnectRefused]
    assert (case.pool.open, case.pool.connects, case.pool.connect_failures) == (0, 1, 1)


def test_closing_ends_idle_connections_now_and_the_others_after_their_exchange():
    case = Case()
    one, two = case.get(), case.get()
    case.pool.release(one)
    closed = case.pool.close()
    over = outcome(closed)
    assert case.network.wires[0].disconnecting
    assert not case.network.wires[1].disconnecting
    case.pool.release(two)
    assert case.network.wires[1].disconnecting
    case.network.wires[0].settle()
    assert over == []
    assert case.pool.close() is closed
    case.network.wires[1].settle()
    assert over == [None]
    assert case.pool.close() is None


def test_closing_sends_those_away_who_wait():
    case = Case(connections=1)
    case.get()
    waiting = outcome(case.pool.acquire())
    case.pool.close()
    assert [type(each) for each in waiting] == [NoPeer]
    case.network.wire.lose()
    assert len(case.network.wires) == 1


def test_interim_answers_are_counted_when_a_connection_is_gone():
    case = Case()
    one = case.get()
    one.parser.interim = 3
    case.network.wire.lose()
    assert case.pool.interim == 3


class PoolMachine(RuleBasedStateMachine):
    """Requests come, finish, break and give up in any order."""

    MOST, MOST_IDLE, MOST_WAITING = 3, 2, 2

    def __init__(self):
        super().__init__()
        self.case = Case(connections=self.MOST, idle=self.MOST_IDLE, waiting=self.MOST_WAITING)
        self.case.network.slow = True
        self.used = []
        self.wanted = []

    def _got(self, result, deferred):
        self.wanted.remove(deferred)
        if isinstance(result, UpstreamConnection):
            self._use(result)

    def _use(self, connection):
        assert connection not in self.used
        assert connection not in self.case.pool.idle
        connection.requests += 1
        self.used.append(connection)

    @rule(fresh=st.booleans())
    def ask(self, fresh):
        got = self.case.pool.acquire(fresh)
        if isinstance(got, Deferred):
            self.wanted.append(got)
            got.addBoth(self._got, got)
        else:
            self._use(got)

    @rule(fail=st.booleans())
    def connect(self, fail):
        if fail:
            self.case.network.failures = [ConnectRefused("no")]
        self.case.network.open()
        self.case.network.failures = []

    @precondition(lambda self: self.used)
    @rule(data=st.data(), close=st.booleans())
    def finish(self, data, close):
        connection = self.used.pop(data.draw(st.integers(0, len(self.used) - 1)))
        if close:
            connection.abort()
        else:
            self.case.pool.release(connection)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def give_up(self, data):
        self.wanted[data.draw(st.integers(0, len(self.wanted) - 1))].cancel()

    @rule(data=st.data())
    def lose(self, data):
        alive = [wire for wire in self.case.network.wires if not wire.lost]
        if alive:
            wire = data.draw(st.sampled_from(alive))
            if wire.protocol in self.used:
                self.used.remove(wire.protocol)
            wire.lose()

    @rule()
    def settle(self):
        self.case.network.settle()

    @rule(tenths=st.integers(1, 15))
    def wait(self, tenths):
        self.case.clock.pump([0.1] * tenths)

    @invariant()
    def bounds_hold(self):
        pool = self.case.pool
        assert 0 <= pool.open <= self.MOST
        assert len(pool.idle) <= self.MOST_IDLE
        assert pool.waiting <= self.MOST_WAITING
        assert len(set(pool.idle)) == len(pool.idle)
        assert not set(pool.idle) & set(self.used)
        assert not any(connection.transport.lost for connection in pool.idle)

    @invariant()
    def nobody_waits_without_need(self):
        pool = self.case.pool
        assert not (pool.waiting and (pool.idle or pool.open < self.MOST))

    @invariant()
    def all_open_ones_are_accounted_for(self):
        connecting = sum(not deferred.called for deferred, *_ in self.case.network.pending)
        alive = sum(not wire.lost for wire in self.case.network.wires)
        assert self.case.pool.open == connecting + alive


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
