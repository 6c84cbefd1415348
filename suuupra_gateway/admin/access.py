"""
Who may do what on the admin site, beyond looking at the state: by bearer tokens over TCP, by the file's permissions on a UNIX
socket.

Pages that change something, or show what is not for everybody, are `Guarded`. They take nothing but JSON: what a page of another
site can make a browser send without asking (forms, and requests without a body) is of other types.
"""

from __future__ import annotations

import hashlib
import hmac
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, TypeVar

import attrs
import msgspec
from twisted.internet.address import UNIXAddress
from twisted.web.iweb import IRequest

from suuupra_gateway.admin.view import Page, View
from suuupra_gateway.config.model import AdminTokenSpec
from suuupra_gateway.config.process import AdminScope
from suuupra_gateway.http.message import Reply

T = TypeVar("T")

LARGEST: Final = 64 * 1024
"""Bytes of a body."""

SOCKET: Final = "admin:socket"
"""Who somebody on a UNIX socket is, for the audit log."""

_REALM: Final = b'Bearer realm="suuupra-gateway admin"'


@attrs.frozen
class Caller:
    """Somebody who may do something."""

    name: str
    """For the audit log."""

    scopes: frozenset[AdminScope]


class Refusal(Exception):
    """A request is answered with an error. `reply` is that answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.code)
        self.reply = reply


class Access:
    """Knows the tokens of one configuration. Immutable."""

    __slots__ = ("_tokens",)

    def __init__(self, tokens: Sequence[AdminTokenSpec]) -> None:
        self._tokens = tuple(
            (_digest(spec.secret.reveal().encode("utf-8")), Caller(f"admin:{spec.name}", frozenset(spec.scopes)))
            for spec in tokens
        )

    def caller(self, request: Any, scope: AdminScope) -> Caller:
        """
        Who is asking, and may do what needs ``scope``.

        :raises Refusal: nobody who may.
        """
        fields: Sequence[bytes] = request.requestHeaders.getRawHeaders(b"authorization", ())
        if not fields and isinstance(request.getHost(), UNIXAddress):
            return _OWNER
        if not fields and not self._tokens:
            # 403, as there is nothing that could be shown.
            detail = "There are no admin.tokens: add one, or let admin.address be a UNIX socket."
            raise Refusal(Reply.problem(403, code="forbidden", title="Forbidden", detail=detail))
        if not fields:
            raise _refusal(401, "unauthorized", "Show a token of admin.tokens as bearer token.", b"")
        if len(fields) > 1:
            raise _refusal(400, "bad_request", "One Authorization field, please.", b'error="invalid_request"')
        found = self._found(fields[0])
        if found is None:
            raise _refusal(401, "unauthorized", "This is none of admin.tokens.", b'error="invalid_token"')
        if scope not in found.scopes:
            told = b'error="insufficient_scope", scope="%b"' % scope.encode("ascii")
            raise _refusal(403, "forbidden", f"This token may not do that: it needs {scope}.", told)
        return found

    def _found(self, field: bytes) -> Caller | None:
        """Compares with all of them, so that the time it takes tells nothing."""
        scheme, _, token = field.partition(b" ")
        shown = _digest(token.strip(b" "))
        found: Caller | None = None
        for digest, caller in self._tokens:
            if hmac.compare_digest(digest, shown):
                found = caller
        return found if scheme.lower() == b"bearer" else None


_OWNER: Final = Caller(SOCKET, frozenset(("keys.read", "keys.write", "revoke")))


def _digest(token: bytes) -> bytes:
    # Of equal length whatever the length of the token, which would show otherwise.
    return hashlib.sha256(token).digest()


def _refusal(status: int, code: str, detail: str, parameters: bytes) -> Refusal:
    challenge = _REALM + b", " + parameters if parameters else _REALM
    titles = {400: "Bad request", 401: "Unauthorized", 403: "Forbidden"}
    headers = ((b"www-authenticate", challenge),)
    return Refusal(Reply.problem(status, code=code, title=titles[status], detail=detail, headers=headers))


def refused(status: int, code: str, title: str, detail: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Refusal:
    """What ends a request with a problem."""
    return Refusal(Reply.problem(status, code=code, title=title, detail=detail, headers=headers))


class Guarded(View):
    """A page for those who may. Subclasses name the scope of each method and write `work`."""

    scopes: ClassVar[Mapping[bytes, AdminScope]]
    """What is needed, by method; there are no others. HEAD follows GET."""

    def __init__(self, access: Access) -> None:
        super().__init__()
        self._access = access
        self.methods = tuple(self.scopes) + ((b"HEAD",) if b"GET" in self.scopes else ())

    async def page(self, request: IRequest) -> Page:
        """See `View`."""
        method = b"GET" if request.method == b"HEAD" else request.method
        try:
            return await self.work(request, self._access.caller(request, self.scopes[method]))
        except Refusal as refusal:
            return Page.problem(refusal.reply)

    @abstractmethod
    async def work(self, request: IRequest, caller: Caller) -> Page:
        """
        The answer to ``caller``, who may have it.

        :raises Refusal: to answer with that.
        """


def order(request: Any, kind: type[T]) -> T:
    """
    The body of a request, read as JSON; an empty one is an empty object.

    :raises Refusal: it is of another type, too long, no JSON, or not what is wanted.
    """
    fields = request.requestHeaders.getRawHeaders(b"content-type", ())
    if not is_json(fields):
        raise refused(415, "unsupported_media_type", "Unsupported media type", "Send Content-Type: application/json.")
    if request.overlong:
        raise refused(413, "body_too_large", "Request body too large", f"At most {LARGEST} bytes.")
    body = request.content.read()
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        # Says which member is wrong, and never shows what is in it.
        raise refused(400, "bad_request", "Bad request", str(error)) from error


def is_json(fields: Sequence[bytes]) -> bool:
    """Whether a request with these ``Content-Type`` fields has a body of JSON."""
    return len(fields) == 1 and fields[0].partition(b";")[0].strip().lower() == b"application/json"
