"""
Refreshing sessions: once, however many requests, workers and machines find one due at the same time.

Providers that rotate refresh tokens take the second use of one for a theft, and log everybody out. So whoever refreshes holds a
lock in the store, renews it for as long as the exchange takes, and looks at the session again when it has it. Whoever has not
looks until the session has been refreshed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from suuupra_gateway.auth.fetch import FetchFailed
from suuupra_gateway.auth.oauth2 import BadAnswer, GrantRefused, ProtocolError, Unusable
from suuupra_gateway.auth.session import Session, Ticket
from suuupra_gateway.auth.sessionstore import RENEW, Lock, RedisSessions
from suuupra_gateway.net.redis import StoreError, StoreUnavailable
from suuupra_gateway.policy.clocks import Patience

COOL: Final = 5.0
"""Seconds after a failure before the same session is tried again by anybody."""

_RESTING: Final = 10_000
"""Sessions that are known to be left alone."""

_LOOK: Final = 0.1
"""Seconds between two looks at a session that somebody else refreshes."""

_WRITES: Final = 60
"""Attempts, a second apart, at storing what an exchange gave: the old refresh token is no good any more."""


class RefreshFailed(Exception):
    """The session is as it was, and cannot be refreshed now. The message says why."""


class Refresher:
    """Refreshes the sessions of one login in one process. Lives as long as the login."""

    log = Logger()

    def __init__(
        self,
        login: str,
        sessions: RedisSessions,
        exchange: Callable[[Session], Awaitable[Session]],
        reactor: IReactorTime,
        *,
        patience: float,
        ended: Callable[[Session], object],
    ) -> None:
        """
        :param exchange: as `Backchannel.refresh`.
        :param patience: seconds that somebody waits for somebody else's exchange.
        :param ended: called with a session that the provider does not let go on, or that was ended while it was refreshed.
        """
        self._login = login
        self._sessions = sessions
        self._exchange = exchange
        self._reactor = reactor
        self._wait = patience
        self._ended = ended
        self._flights: dict[str, list[Deferred[Session | None]]] = {}
        self._resting: dict[str, float] = {}
        self._work: set[Deferred[Any]] = set()
        self._health = Patience()
        self._probing = False

    @property
    def lost(self) -> bool:
        """Whether the provider has failed so often that waiting for it makes no sense."""
        return self._health.lost

    def refresh(self, ticket: Ticket) -> Deferred[Session | None]:
        """
        The session as it is after it has been refreshed, by whomever; None if it has ended.

        Errback `RefreshFailed`, `StoreUnavailable` or `StoreError`. Cancelling it ends the wait only.
        """
        waiter: Deferred[Session | None] = Deferred()
        waiting = self._flights.get(ticket.id)
        if waiting is not None:
            waiting.append(waiter)
            return waiter
        now = self._reactor.seconds()
        if self._resting.get(ticket.id, 0.0) > now:
            waiter.errback(RefreshFailed("it failed a moment ago"))
            return waiter
        if self._health.lost and (self._probing or not self._health.asks(now)):
            waiter.errback(RefreshFailed(f"the provider of {self._login} does not answer"))
            return waiter
        waiters = self._flights[ticket.id] = [waiter]
        probe = self._health.lost
        self._probing = self._probing or probe

        def landed(result: Session | Failure | None) -> None:
            del self._flights[ticket.id]
            if probe:
                self._probing = False
            if isinstance(result, Failure):
                self._rest(ticket.id)
            for each in waiters:
                if not each.called:
                    each.callback(result)

        self._keep(self._refresh(ticket)).addBoth(landed)
        return waiter

    def _rest(self, id: str) -> None:
        """Do not ask the store again with each request either."""
        if len(self._resting) >= _RESTING:
            self._resting.clear()
        self._resting[id] = self._reactor.seconds() + COOL

    def stop(self) -> Deferred[None]:
        """Fires when nothing is on its way any more; what an exchange gave is stored before."""
        done: Deferred[None] = Deferred.fromCoroutine(self._finish())
        return done

    async def _finish(self) -> None:
        while self._work:
            over: Deferred[None] = Deferred()
            next(iter(self._work)).addBoth(_pass_on, over)
            await over

    def _keep(self, work: Any) -> Deferred[Any]:
        """Remember what is on its way."""
        running: Deferred[Any] = Deferred.fromCoroutine(work)
        self._work.add(running)

        def over(result: Any) -> Any:
            self._work.discard(running)
            return result

        return running.addBoth(over)

    # -- one refresh --------------------------------------------------------------------------------------------------

    async def _refresh(self, ticket: Ticket) -> Session | None:
        sessions = self._sessions
        end = self._reactor.seconds() + self._wait
        while True:
            lock = await sessions.lock(ticket.id)
            session = await sessions.read(ticket)
            if session is None or not self._is_due(session):
                if lock is not None:
                    await sessions.release(lock)
                return session
            if lock is not None:
                return await self._holding(lock, ticket, session)
            if await sessions.cooling(ticket.id):
                raise RefreshFailed("it failed a moment ago")
            if self._reactor.seconds() >= end:
                raise RefreshFailed("somebody else does not come to an end with it")
            await deferLater(self._reactor, _LOOK)

    def _is_due(self, session: Session) -> bool:
        return session.tokens is not None and bool(session.tokens.refresh) and session.tokens.due <= self._sessions.now

    async def _holding(self, lock: Lock, ticket: Ticket, session: Session) -> Session | None:
        renewing = LoopingCall(self._renew, lock)
        renewing.clock = self._reactor
        renewing.start(RENEW, now=False).addErrback(lambda failure: None)
        with ExitStack() as ends:
            ends.callback(renewing.stop)
            fresh = await self._exchanged(lock, ticket, session)
            if fresh is None:
                return None
            try:
                there = await self._sessions.write(fresh, ticket)
            except (StoreUnavailable, StoreError) as error:
                self.log.warn(
                    "A session of {login} was refreshed, but not stored yet: {why}", login=self._login, why=str(error)
                )
                self._keep(self._write(ends.pop_all(), lock, ticket, fresh))
                return fresh
            await self._let_go(lock)
        if not there:
            self._ended(fresh)  # it was ended meanwhile; the provider need not keep it either
            return None
        return fresh

    async def _exchanged(self, lock: Lock, ticket: Ticket, session: Session) -> Session | None:
        now = self._reactor.seconds
        try:
            fresh = await self._exchange(session)
        except (FetchFailed, BadAnswer, Unusable) as error:
            if not self._health.failures:
                self.log.warn("Sessions of {login} cannot be refreshed: {why}", login=self._login, why=str(error))
            self._health = self._health.failed(now())
            await self._let_go(lock, COOL)
            raise RefreshFailed(str(error)) from error
        except GrantRefused as error:
            self._health = Patience()
            if error.reason != "invalid_grant":
                self.log.error("{login} may not refresh sessions: {why}", login=self._login, why=str(error))
                await self._let_go(lock, COOL)
                raise RefreshFailed(str(error)) from error
            again = await self._sessions.read(ticket)
            if again is not None and again.tokens != session.tokens:
                await self._let_go(lock)
                return again  # somebody was faster after all
            await self._over(lock, session, str(error))
            return None
        except ProtocolError as error:
            self._health = Patience()
            self.log.error("A session of {login} has ended: {why}", login=self._login, why=str(error))
            await self._over(lock, session, str(error))
            return None
        self._health = Patience()
        return fresh

    async def _over(self, lock: Lock, session: Session, why: str) -> None:
        self.log.info("Session {session} of {login} has ended: {why}", session=session.id, login=self._login, why=why)
        await self._sessions.delete(session)
        self._ended(session)
        await self._let_go(lock)

    async def _write(self, ends: ExitStack, lock: Lock, ticket: Ticket, session: Session) -> None:
        """Go on trying, with the lock held if that can be."""
        with ends:
            for _ in range(_WRITES):
                await deferLater(self._reactor, 1.0)
                try:
                    await self._sessions.write(session, ticket)
                except (StoreUnavailable, StoreError):
                    continue
                await self._let_go(lock)
                return
            self.log.error("A refreshed session of {login} is lost: the store is away", login=self._login)

    def _renew(self, lock: Lock) -> Deferred[Any]:
        """Never fails: a lock that is lost does not undo an exchange that has begun."""
        renewed: Deferred[Any] = Deferred.fromCoroutine(self._sessions.renew(lock))
        return renewed.addErrback(lambda failure: None)

    async def _let_go(self, lock: Lock, cool: float = 0.0) -> None:
        """It ends by itself if this cannot be said."""
        try:
            await self._sessions.release(lock, cool)
        except (StoreUnavailable, StoreError):
            return


def _pass_on(result: object, over: Deferred[None]) -> object:
    cast("Any", over).callback(None)
    return result
