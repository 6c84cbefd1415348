"""
Who is calling, and may they? Compiled into every private route; configured by the route's ``auth:``, not among its filters.

Credentials are tried in order. A known caller costs a look-up in the principal's own `admissions`: what a route makes of a
principal, yes or no and the fields for the upstream, is computed once. Whatever goes wrong, the answer is no.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from typing import Any, Final, Protocol, cast

import attrs

from suuupra_gateway.auth.answers import stale_will_do
from suuupra_gateway.auth.fields import FieldTooLong, PrincipalFields
from suuupra_gateway.auth.principal import Cached, Principal, Refused, Source, Undecided
from suuupra_gateway.auth.requirements import Requirements
from suuupra_gateway.config.model import AuthSpec
from suuupra_gateway.errors import AuthUnavailable, BadRequest, Forbidden, Unauthorized
from suuupra_gateway.filters.base import Filter, Phase
from suuupra_gateway.filters.rehearsal import Glance, Rehearsal, named, taken, undecided
from suuupra_gateway.hooks import Verdict
from suuupra_gateway.http.message import Pair, Reply
from suuupra_gateway.interfaces import Credential, IExchange

_FALLBACK: Final = b'Certificate realm="%b"'

_MOST: Final = 256
"""Admissions that a principal keeps: plans come and go while it stays."""


class Signer(Protocol):
    """Makes signed statements of who is calling; see `auth.assertion`."""

    def sign(self, principal: Principal, audience: tuple[str, ...]) -> Pair:
        """The field that carries one. Once it was made for somebody, making it anew fails no more; else `FieldTooLong`."""


class AuthCounts:
    """How credentials turned out, by provider, result and source. One per process; plain integers."""

    __slots__ = ("counts",)

    counts: dict[tuple[str, str, str], int]

    def __init__(self) -> None:
        self.counts = {}

    def add(self, provider: str, result: str, source: str) -> None:
        """One more."""
        key = (provider, result, source)
        self.counts[key] = self.counts.get(key, 0) + 1


@attrs.frozen(eq=False)
class _Admission:
    """What a route makes of a principal."""

    reply: Reply | None
    """Why not; None for yes."""

    reason: str
    fields: tuple[Pair, ...]


class _Trial:
    """One request's credentials while they are tried. Lives until there is a verdict."""

    __slots__ = ("place", "found", "refused", "undecided", "reply", "accepted")

    def __init__(self, place: int, found: object) -> None:
        self.place = place
        self.found = found
        self.refused: tuple[int, Refused] | None = None
        self.undecided: tuple[int, Undecided] | None = None
        self.reply: tuple[int, Reply] | None = None
        self.accepted: list[tuple[Principal, Source, float]] = []

    def note(self) -> None:
        """Remember what was found, unless something of its kind was found before."""
        found = self.found
        if isinstance(found, Refused):
            self.refused = self.refused or (self.place, found)
        elif isinstance(found, Undecided):
            self.undecided = self.undecided or (self.place, found)
        elif isinstance(found, Reply):
            self.reply = self.reply or (self.place, found)


class Auth(Filter[AuthSpec]):
    """Let in who is known and allowed; tell upstreams who it is."""

    name = "auth"
    phase = Phase.AUTHENTICATE
    pure = False
    on_error = "The request is refused: who cannot be known does not get in."

    _marks = itertools.count()

    def __init__(
        self,
        spec: AuthSpec,
        credentials: Sequence[Credential],
        *,
        fields: PrincipalFields | None,
        counts: AuthCounts,
        realm: str,
        signer: Signer | None = None,
        audience: tuple[str, ...] = (),
    ) -> None:
        """
        :param credentials: as in ``any`` or ``all`` of the spec.
        :param fields: for upstreams; None to tell them nothing.
        :param signer: None for no signed statement.
        :param audience: for whom that is.
        :raises ValueError: something in the requirements cannot be compiled.
        """
        self.spec = spec
        self.credentials = tuple(credentials)
        self._checks: tuple[Callable[[IExchange], Any], ...] = tuple(each.check for each in credentials)
        self._all = bool(spec.all)
        self._requirements = Requirements(spec)
        self._fields = fields
        self._conceals = () if spec.forward_credentials else tuple(each.conceal for each in credentials)
        self._counts = counts
        self._names = tuple(credential.provider or credential.kind for credential in credentials)
        self._signer = signer
        self._audience = audience
        self._mark = next(self._marks)
        challenges = dict.fromkeys(each.challenge for each in credentials if each.challenge)
        self._challenges = tuple(challenges) or (_FALLBACK % realm.encode("ascii"),)
        self._bare = _unauthorized("no credential", self._challenges)

    def request(self, exchange: IExchange) -> Verdict | Awaitable[Verdict]:
        """Go on with a principal, or answer."""
        if self._all:
            return self._weigh(exchange, _Trial(0, self._checks[0](exchange)))
        for place, check in enumerate(self._checks):
            found = check(exchange)
            if found is not None:
                if isinstance(found, Principal):
                    return self._admit(exchange, found, place, "live", 0.0)
                if isinstance(found, Cached) and found.source != "stale":
                    return self._admit(exchange, found.principal, place, found.source, found.age)
                return self._weigh(exchange, _Trial(place, found))
        return self._nothing(exchange)

    # -- trying -------------------------------------------------------------------------------------------------------

    def _weigh(self, exchange: IExchange, trial: _Trial) -> Verdict | Awaitable[Verdict]:
        while True:
            found = trial.found
            if isinstance(found, Principal | Cached):
                accepted = self._accepted(exchange, trial, found)
                if accepted is not None and not self._all:
                    return self._admit(exchange, *accepted)
            elif found is not None and not isinstance(found, Refused | Undecided | Reply):
                return self._later(exchange, trial)
            else:
                if isinstance(found, Refused) and found.status == 400:
                    # Ambiguous, whatever else it shows: upstreams might go by the other one.
                    return self._refused(exchange, trial.place, found)
                trial.note()
                if self._all:
                    return self._refuse(exchange, trial)
            trial.place += 1
            if trial.place == len(self._checks):
                if self._all:
                    return self._admit_all(exchange, trial)
                return self._refuse(exchange, trial)
            trial.found = self._checks[trial.place](exchange)

    async def _later(self, exchange: IExchange, trial: _Trial) -> Verdict:
        trial.found = await trial.found  # type: ignore[misc]  # what is nothing else can be awaited
        verdict = self._weigh(exchange, trial)
        if verdict is None or isinstance(verdict, Reply):
            return verdict
        return await verdict

    def _accepted(
        self, exchange: IExchange, trial: _Trial, found: Principal | Cached
    ) -> tuple[Principal, int, Source, float] | None:
        """What is accepted; None if it is too old for this route."""
        if isinstance(found, Principal):
            principal, source, age = found, "live", 0.0
        else:
            principal, source, age = found.principal, found.source, found.age
            # Credentials know the rule, and spare asking by it; here it holds whatever they do.
            if source == "stale" and not stale_will_do(self.spec.stale, exchange.head.method):
                trial.found = Undecided("stale_not_allowed", "there is only an old decision")
                trial.note()
                return None
        trial.accepted.append((principal, source, age))  # type: ignore[arg-type]  # mypy widens literals in tuples
        return principal, trial.place, source, age  # type: ignore[return-value]

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def _admit_all(self, exchange: IExchange, trial: _Trial) -> Verdict:
        if len(trial.accepted) < len(self._checks):
            return self._refuse(exchange, trial)
        principals = [principal for principal, _, _ in trial.accepted]
        oldest = max(trial.accepted, key=lambda each: _AGES[each[1]])
        return self._admit(exchange, self._merged(principals), 0, oldest[1], oldest[2])

    def _merged(self, principals: Sequence[Principal]) -> Principal:
        """The first one, allowed what any of them is, for as long as all of them hold."""
        first, *others = principals
        key = (self._mark, *others)
        known = first.admissions.get(key)
        if isinstance(known, Principal):
            return known
        claims: dict[str, object] = {}
        for principal in reversed(principals):
            claims |= principal.claims
        made = attrs.evolve(
            first,
            scopes=frozenset().union(*(each.scopes for each in principals)),
            roles=frozenset().union(*(each.roles for each in principals)),
            claims=claims,
            expires=min(each.expires for each in principals),
            fields=tuple(dict(field for each in reversed(principals) for field in each.fields).items()),
            tags=tuple(dict.fromkeys(tag for each in principals for tag in each.tags)),
            key=next((each.key for each in principals if each.key), ""),
        )
        _keep(first, key, made)
        return made

    def _admit(self, exchange: IExchange, principal: Principal, place: int, source: str, age: float) -> Verdict:
        admission = principal.admissions.get(self._mark)
        if admission is None:
            admission = self._judge(principal)
            _keep(principal, self._mark, admission)
        assert isinstance(admission, _Admission)
        exchange.principal = principal
        counts = self._counts.counts
        if admission.reply is not None:
            exchange.outcome.auth = admission.reason
            self._counts.add(self._names[place], "forbidden", source)
            return admission.reply
        key = (self._names[place], "accepted", source)
        counts[key] = counts.get(key, 0) + 1
        head = exchange.head
        for conceal in self._conceals:
            conceal(head)
        head.headers += admission.fields
        if source != "live":
            exchange.outcome.auth = source
            if source == "stale":
                head.headers.append((b"x-suuupra-auth", b"stale;age=%d" % age))
        if self._signer is not None:
            head.headers.append(self._signer.sign(principal, self._audience))
        return None

    def _judge(self, principal: Principal) -> _Admission:
        unmet = self._requirements.unmet(principal)
        if unmet is not None:
            headers: tuple[Pair, ...] = ()
            if unmet.scope:
                # RFC 6750 section 3.1; scopes come from the configuration and hold no quotes.
                challenge = b'%b, error="insufficient_scope", scope="%b"'
                headers = tuple(
                    (b"www-authenticate", challenge % (each, unmet.scope.encode("latin-1", "replace")))
                    for each in self._challenges
                    if each.startswith(b"Bearer ")
                )
            return _Admission(Reply.of(Forbidden(f"{unmet.reason}: {unmet.detail}", headers=headers)), unmet.reason, ())
        try:
            fields = self._fields.of(principal) if self._fields is not None else ()
            if self._signer is not None:
                self._signer.sign(principal, self._audience)
        except FieldTooLong as error:
            return _Admission(Reply.of(Forbidden(f"identity_too_long: {error}")), "identity_too_long", ())
        return _Admission(None, "", fields)

    def _nothing(self, exchange: IExchange) -> Reply:
        exchange.outcome.auth = "no_credential"
        self._counts.add(self._names[0] if len(self._names) == 1 else "-", "missing", "live")
        return self._bare

    def _refuse(self, exchange: IExchange, trial: _Trial) -> Reply:
        """Nobody was accepted: 503 if somebody might have been, else why not."""
        if trial.undecided is not None:
            place, undecided = trial.undecided
            exchange.outcome.auth = undecided.reason
            self._counts.add(self._names[place], "undecided", "live")
            retry = b"%d" % max(1, -int(-undecided.retry_after // 1))
            return Reply.of(
                AuthUnavailable(f"{undecided.reason}: {undecided.detail}", headers=((b"retry-after", retry),))
            )
        if trial.reply is not None:
            place, reply = trial.reply
            away = 300 <= reply.status < 400
            reason = "login" if away else "refused_elsewhere"
            exchange.outcome.auth = trial.refused[1].reason if trial.refused is not None else reason
            self._counts.add(self._names[place], "missing" if away else "refused", "live")
            return reply
        if trial.refused is None:
            return self._nothing(exchange)
        return self._refused(exchange, *trial.refused)

    def _refused(self, exchange: IExchange, place: int, refused: Refused) -> Reply:
        exchange.outcome.auth = refused.reason
        self._counts.add(self._names[place], "refused", refused.source)
        message = f"{refused.reason}: {refused.detail}" if refused.detail else refused.reason
        if refused.status == 403:
            return Reply.of(Forbidden(message))
        if refused.status == 400:
            return Reply.of(BadRequest(message, detail="The request's credentials are ambiguous."))
        own = self.credentials[place].challenge
        told = tuple(
            each + b', error="%b"' % refused.error.encode("ascii")
            if each == own and own.startswith(b"Bearer ")
            else each
            for each in self._challenges
        )
        return _unauthorized(message, told)

    # -- without asking anybody ---------------------------------------------------------------------------------------

    def rehearse(self, exchange: IExchange, principal: Principal | None) -> Rehearsal:
        """See `Rehearsing`."""
        twin = copy(self)
        twin._counts = AuthCounts()
        if principal is not None:
            as_said = taken(self.credentials, principal)
            if as_said is None:
                by = " ".join(filter(None, (principal.credential, principal.provider)))
                return Rehearsal(twin._nothing(exchange), f"nobody is let in here by {by}")
            place, caller = as_said
            verdict = twin._admit(exchange, caller, place, "live", 0.0)
            return Rehearsal(verdict, ", ".join(filter(None, ("the caller is given", _why(verdict)))))
        glances = [Glance.at(credential, exchange) for credential in self.credentials]
        says = "; ".join(glance.says for glance in glances)
        asks = undecided(glances, self._all)
        if asks:
            for conceal in self._conceals:
                conceal(exchange.head)
            return Rehearsal(None, says, asks)
        twin._checks = tuple(_constant(glance.found) for glance in glances)
        verdict = cast("Verdict", twin.request(exchange))  # nothing has to be waited for
        return Rehearsal(verdict, "; ".join(filter(None, (says, _why(verdict)))))

    def explain(self, exchange: IExchange) -> str:
        """What is asked for; what is shown is told by `rehearse`."""
        return "asks for " + (" and " if self._all else " or ").join(map(named, self.credentials))


def _constant(found: Any) -> Callable[[IExchange], Any]:
    return lambda exchange: found


def _why(verdict: Verdict) -> str:
    """Why a caller who is known does not get in; empty for all else."""
    return str(verdict.error) if verdict is not None and isinstance(verdict.error, Forbidden) else ""


def _keep(principal: Principal, key: object, made: object) -> None:
    if len(principal.admissions) >= _MOST:
        principal.admissions.clear()
    principal.admissions[key] = made


_AGES: Final[Mapping[str, int]] = {"live": 0, "fresh": 1, "revalidate": 2, "stale": 3}


def _unauthorized(message: str, challenges: Sequence[bytes]) -> Reply:
    return Reply.of(Unauthorized(message, headers=tuple((b"www-authenticate", each) for each in challenges)))
