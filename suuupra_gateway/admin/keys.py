"""
``/api/keys`` and ``/api/revocations``: API keys and what else can be taken back, for those who may.

As `auth.issuing` does it for the command line too. A new key is in the one answer to whoever made it, and nowhere else.
"""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import attrs
import msgspec
from twisted.logger import Logger
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource

from suuupra_gateway.admin.access import Access, Caller, Guarded, Refusal, order, refused
from suuupra_gateway.admin.view import JSON, Page
from suuupra_gateway.auth.issuing import OVERLAP, Issued, Issuing, NoSuchKey, NotPossible, shown
from suuupra_gateway.auth.keyorder import BadOrder, KeyOrder
from suuupra_gateway.config.process import AdminScope
from suuupra_gateway.config.units import Duration
from suuupra_gateway.http.message import Reply
from suuupra_gateway.interfaces import IControl
from suuupra_gateway.net.redis_errors import StoreError, StoreUnavailable

PAGES: Final = {
    "keys": "API keys: GET lists them (owner, state, limit, after), POST makes one.",
    "keys/ID": "One key, and who uses it. POST to keys/ID/rotate and keys/ID/revoke.",
    "keys/audit": "Keys that somebody should look at.",
    "keys/log": "What was done with keys.",
    "keys/check": "POST: the keys in a text, such as one where they were found.",
    "revocations": "POST: end sessions, tokens, or all that a subject has got.",
}

_LISTED: Final = 500
_MOST_LISTED: Final = 10_000
_MOST_TAGS: Final = 100
_is_id: Final = re.compile(rb"[0-9A-Za-z]{12}").fullmatch
_is_tag: Final = re.compile(r"(session:.|sid:[^:]+:.|subject:(?!api-key:)[^:]+:.|token:.).*").fullmatch


def tree(control: IControl, access: Access) -> Resource:
    """The resource for ``/api/keys``."""
    root = Keys(control, access)
    root.putChild(b"audit", Audit(control, access))
    root.putChild(b"log", Log(control, access))
    root.putChild(b"check", Check(control, access))
    return root


class KeysView(Guarded):
    """A page about keys."""

    log = Logger()

    def __init__(self, control: IControl, access: Access) -> None:
        super().__init__(access)
        self._control = control

    async def work(self, request: IRequest, caller: Caller) -> Page:
        """See `Guarded`."""
        issuing = self._control.issuing()
        if issuing is None:
            detail = "The configuration has no identity.api-keys."
            raise refused(404, "not_routed", "Not found", detail)
        try:
            return await self.with_keys(request, caller, issuing)
        except NoSuchKey as error:
            raise refused(404, "not_routed", "Not found", "There is no such key.") from error
        except BadOrder as error:
            raise refused(400, "bad_request", "Bad request", str(error)) from error
        except NotPossible as error:
            raise refused(409, "conflict", "Conflict", str(error)) from error
        except (StoreUnavailable, StoreError) as error:
            self.log.warn("The store of API keys does not answer: {why}", why=str(error))
            raise _unavailable() from error

    @abstractmethod
    async def with_keys(self, request: IRequest, caller: Caller, issuing: Issuing) -> Page:
        """As `work`, for whoever needs keys. What `Issuing` raises becomes an answer."""

    def done(self, caller: Caller, action: str, id: str) -> None:
        """Say in the log what was done."""
        self.log.info("{actor}: {action} of API key {id}", actor=caller.name, action=action, id=id)


class Keys(KeysView):
    """``/api/keys``."""

    scopes: ClassVar[Mapping[bytes, AdminScope]] = {b"GET": "keys.read", b"POST": "keys.write"}

    def getChild(self, path: bytes, request: Any) -> Resource:
        """``/api/keys/`` is the same, ``/api/keys/ID`` a key."""
        if path == b"" and not request.postpath:
            return self
        if _is_id(path):
            return Key(self._control, self._access, path.decode("ascii"))
        return super().getChild(path, request)

    async def with_keys(self, request: IRequest, caller: Caller, issuing: Issuing) -> Page:
        """See `KeysView`."""
        if request.method != b"POST":
            return await self._list(request, issuing)
        tree = order(request, dict[str, Any])
        lifetime = tree.pop("lifetime", None)
        try:
            wanted = msgspec.convert(tree, KeyOrder)
        except msgspec.ValidationError as error:
            raise BadOrder(str(error)) from error
        if lifetime is not None:
            if wanted.expires_at:
                raise BadOrder("it has either a lifetime or a time when it ends")
            start = max(issuing.now(), wanted.not_before)
            wanted = msgspec.structs.replace(wanted, expires_at=start + _seconds("lifetime", lifetime))
        issued = await issuing.create(caller.name, wanted)
        self.done(caller, "create", issued.record.id)
        return _issued(issued, issuing.now())

    async def _list(self, request: IRequest, issuing: Issuing) -> Page:
        owner, state, after = (_argument(request, name) for name in ("owner", "state", "after"))
        limit = _number(request, "limit", _LISTED, _MOST_LISTED)
        now = issuing.now()
        records = [
            record
            for record in await issuing.store.all()
            if owner in ("", record.owner) and state in ("", record.state(now))
        ]
        if after:
            places = [place for place, record in enumerate(records) if record.id == after]
            if not places:
                raise BadOrder("there is no key to go on after")
            records = records[places[0] + 1 :]
        more, records = records[limit:], records[:limit]
        used = await issuing.store.used([record.id for record in records])
        listed = [shown(record, now, used.get(record.id, 0.0)) for record in records]
        return Page.json({"keys": listed, "next": records[-1].id if more else None})


class Key(KeysView):
    """``/api/keys/ID``."""

    scopes: ClassVar[Mapping[bytes, AdminScope]] = {b"GET": "keys.read"}

    def __init__(self, control: IControl, access: Access, id: str) -> None:
        super().__init__(control, access)
        self._id = id
        self.putChild(b"rotate", Rotate(control, access, id))
        self.putChild(b"revoke", Revoke(control, access, id))

    async def with_keys(self, request: IRequest, caller: Caller, issuing: Issuing) -> Page:
        """See `KeysView`."""
        record = await issuing.record(self._id)
        used = await issuing.store.used([self._id])
        usage = [msgspec.structs.asdict(each) for each in await issuing.usage(self._id)]
        return Page.json({**shown(record, issuing.now(), used.get(self._id, 0.0)), "usage": usage})


class _Action(KeysView):
    scopes: ClassVar[Mapping[bytes, AdminScope]] = {b"POST": "keys.write"}

    def __init__(self, control: IControl, access: Access, id: str) -> None:
        super().__init__(control, access)
        self._id = id


class _Overlap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    overlap: str = ""


class Rotate(_Action):
    """``/api/keys/ID/rotate``."""

    async def with_keys(self, request: IRequest, caller: Caller, issuing: Issuing) -> Page:
        """See `KeysView`."""
        wanted = order(request, _Overlap).overlap
        issued = await issuing.rotate(self._id, caller.name, _seconds("overlap", wanted) if wanted else OVERLAP)
        self.done(caller, "rotate", self._id)
        return _issued(issued, issuing.now())


class _Why(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    why: str = ""


class Revoke(_Action):
    """``/api/keys/ID/revoke``."""

    async def with_keys(self, request: IRequest, caller: Caller, issuing: Issuing) -> Page:
        """See `KeysView`."""
        record = await issuing.revoke(self._id, caller.name, order(request, _Why).why)
        self.done(caller, "revoke", self._id)
        return Page.json(shown(record, issuing.now()))


class Audit(KeysView):
    """``/api/keys/audit``."""

    scopes: ClassVar[Mapping[bytes, AdminScope]] = {b"GET": "keys.read"}

    async def with_keys(self, request: IRequest, caller: Caller, issuing: Issuing) -> Page:
        """See `KeysView`."""
        return Page.json({"findings": [attrs.asdict(finding) for finding in await issuing.audit()]})


class Log(KeysView):
    """``/api/keys/log``."""

    scopes: ClassVar[Mapping[bytes, AdminScope]] = {b"GET": "keys.read"}

    async def with_keys(self, request: IRequest, caller: Caller, issuing: Issuing) -> Page:
        """See `KeysView`."""
        entries = await issuing.store.audit(_number(request, "limit", _LISTED, _MOST_LISTED))
        return Page.json({"entries": [msgspec.structs.asdict(entry) for entry in entries]})


class _Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str


class Check(KeysView):
    """``/api/keys/check``. POST, as what is looked at must not end in the log of some proxy."""

    scopes: ClassVar[Mapping[bytes, AdminScope]] = {b"POST": "keys.read"}

    async def with_keys(self, request: IRequest, caller: Caller, issuing: Issuing) -> Page:
        """See `KeysView`."""
        leaks = await issuing.check(order(request, _Text).text.encode("utf-8"))
        return Page.json({"keys": [leak.shown(issuing.now()) for leak in leaks]})


class _Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be revoked: any of these."""

    tags: tuple[str, ...] = ()
    session: str = ""
    token: str = ""
    """A token itself: as long as it lives, it is not taken any more."""

    provider: str = ""
    subject: str = ""
    """With ``provider``: everything that was issued to it up to now."""


class Revocations(Guarded):
    """``/api/revocations``."""

    log = Logger()

    scopes: ClassVar[Mapping[bytes, AdminScope]] = {b"POST": "revoke"}

    def __init__(self, control: IControl, access: Access) -> None:
        super().__init__(access)
        self._control = control

    async def work(self, request: IRequest, caller: Caller) -> Page:
        """See `Guarded`."""
        tags = _tags(order(request, _Revocation))
        try:
            everywhere = await self._control.revoke(tags)
        except (StoreUnavailable, StoreError) as error:
            self.log.warn("Other gateways are not told of a revocation: {why}", why=str(error))
            raise _unavailable() from error
        self.log.info("{actor}: revoked {tags}", actor=caller.name, tags=" ".join(tags))
        return Page.json({"revoked": tags, "everywhere": everywhere})


def _tags(wanted: _Revocation) -> list[str]:
    tags = list(wanted.tags)
    if bool(wanted.provider) != bool(wanted.subject):
        raise refused(400, "bad_request", "Bad request", "A subject has a provider.")
    if wanted.subject:
        tags.append(f"subject:{wanted.provider}:{wanted.subject}")
    if wanted.session:
        tags.append(f"session:{wanted.session}")
    if wanted.token:
        tags.append(f"token:{hashlib.blake2b(wanted.token.encode('utf-8'), digest_size=16).hexdigest()}")
    if not 0 < len(tags) <= _MOST_TAGS:
        raise refused(400, "bad_request", "Bad request", f"Name one to {_MOST_TAGS} things.")
    for tag in tags:
        if len(tag) > 500 or not tag.isprintable() or not _is_tag(tag):
            detail = "Tags are session:ID, subject:PROVIDER:SUBJECT or token:HASH. Keys have /api/keys/ID/revoke."
            raise refused(400, "bad_request", "Bad request", detail)
    return tags


def _issued(issued: Issued, now: float) -> Page:
    body = Page.json({**shown(issued.record, now), "key": issued.key.text.decode("ascii")}).body
    return Page(JSON, body, 201, ((b"location", f"/api/keys/{issued.record.id}".encode("ascii")),))


def _unavailable() -> Refusal:
    detail = "The store does not answer. What was asked may be done or not: look before asking again."
    reply = Reply.problem(503, code="store_unavailable", title="Service unavailable", detail=detail, retry_after=5)
    return Refusal(reply)


def _seconds(name: str, text: object) -> float:
    try:
        return float(Duration.parse(str(text)))
    except ValueError as error:
        raise BadOrder(f"{name}: {error}") from error


def _argument(request: Any, name: str) -> str:
    """A parameter of the query; empty if it is not there."""
    values: list[bytes] = request.args.get(name.encode("ascii"), [])
    return values[-1].decode("utf-8", "replace") if values else ""


def _number(request: Any, name: str, default: int, most: int) -> int:
    text = _argument(request, name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= most):
        raise BadOrder(f"{name} is a number from 1 to {most}")
    return int(text)
