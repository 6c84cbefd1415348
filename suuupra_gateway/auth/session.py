"""
A session: what stays between logins, and the ticket by which a browser shows it.

With a store, browsers hold a ticket: the session's id and a secret. The store holds the session sealed with a key that is made of
both that secret and a key of ours, so whoever reads the store, and even whoever has our keys besides, can read no tokens.
Without one the session itself, sealed, is the cookie; then there are no tokens in it.
"""

from __future__ import annotations

import os
from typing import Any, Final

import attrs
import msgspec

from suuupra_gateway.auth.jwt import TokenError
from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.auth.provider import principal_from
from suuupra_gateway.auth.seal import bytes_of, text_of
from suuupra_gateway.config.model import ClaimNames

_HALF: Final = 16
"""Bytes of an id and of a secret."""

_TEXT: Final = 22
"""Characters of each in base64url."""

LIFETIME: Final = 3600.0
"""Seconds for which an access token is good whose provider does not tell."""

SHARE: Final = 0.8
"""Of an access token's lifetime, after which it is refreshed."""

_OF_THE_FLOW: Final = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "exp", "nbf", "aud", "azp", "jti"})
"""Claims about the token, not about who has logged in."""


class Tokens(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the provider gave us to come back with. Stored sealed only."""

    access: str
    refresh: str = ""
    """Empty if the session is not refreshed: then it ends by its own clocks alone."""

    id: str = ""
    """The last ID token; for logging out."""

    obtained: float = 0.0
    """UNIX time."""

    expires: float = 0.0
    """UNIX time at which the access token ends."""

    @property
    def due(self) -> float:
        """UNIX time from which on to refresh."""
        return self.obtained + SHARE * (self.expires - self.obtained)


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """One session. Times are UNIX times."""

    id: str
    subject: str
    claims: dict[str, Any]
    """Of the ID token, and what the userinfo endpoint has added."""

    began: float
    """When somebody logged in."""

    ends: float
    """When it is over whatever happens."""

    sid: str = ""
    """How the provider calls its own session (OIDC Back-Channel Logout section 2.1)."""

    scopes: str = ""
    """What was granted, separated by spaces."""

    idle: float = 0.0
    """When it is over unless it is used; only in cookies, as a store has its own way of forgetting."""

    asks_userinfo: bool = False
    """Whether the userinfo endpoint had something to add."""

    tokens: Tokens | None = None

    def encode(self) -> bytes:
        """As JSON."""
        return _encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Session:
        """
        The inverse of `encode`.

        :raises ValueError: it is no session.
        """
        try:
            return _decode(data)
        except msgspec.DecodeError as error:
            raise ValueError(f"no session: {error}") from error


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Session).decode


@attrs.frozen(repr=False)
class Ticket:
    """By what a browser shows a session that is stored elsewhere."""

    id: str
    """Names it; in logs and metrics of ours, and in the store."""

    secret: bytes
    """Opens it; nowhere but in the browser."""

    @classmethod
    def new(cls) -> Ticket:
        """One that nobody can guess: 128 bits for the id, and 128 for the secret."""
        return cls(text_of(os.urandom(_HALF)).decode("ascii"), os.urandom(_HALF))

    @classmethod
    def parse(cls, value: bytes) -> Ticket | None:
        """The ticket in a cookie; None for anything else."""
        if len(value) != 2 * _TEXT + 1 or value[_TEXT : _TEXT + 1] != b".":
            return None
        id, secret = value[:_TEXT], bytes_of(value[_TEXT + 1 :])
        if secret is None or bytes_of(id) is None:
            return None
        return cls(id.decode("ascii"), secret)

    @property
    def value(self) -> bytes:
        """For the cookie."""
        return b"%b.%b" % (self.id.encode("ascii"), text_of(self.secret))

    def __repr__(self) -> str:
        return f"<Ticket {self.id}>"


def who(claims: dict[str, Any]) -> dict[str, Any]:
    """Claims without those about the token that they came in."""
    return {name: value for name, value in claims.items() if name not in _OF_THE_FLOW}


def tags_of(login: str, provider: str, subject: str, sid: str = "", id: str = "") -> tuple[str, ...]:
    """By what sessions can be revoked."""
    tags = []
    if id:
        tags.append(f"session:{id}")
    if sid:
        tags.append(f"sid:{login}:{sid}")
    if subject:
        tags += (f"subject:{login}:{subject}", f"subject:{provider}:{subject}")
    return tuple(dict.fromkeys(tags))


def principal_of(session: Session, names: ClaimNames, login: str, provider: str) -> Principal:
    """
    Who has logged in.

    :raises ValueError: the claims do not say so; the configuration may have changed since.
    """
    claims = session.claims
    if names.scopes == "scope" and session.scopes and "scope" not in claims:
        claims = {**claims, "scope": session.scopes}
    tags = tags_of(login, provider, session.subject, session.sid, session.id)
    try:
        made = principal_from(claims, names, login, "session", tags=tags, key=session.id)
    except TokenError as error:
        raise ValueError(str(error)) from error
    return attrs.evolve(made, expires=session.ends, tags=tuple(dict.fromkeys((*tags, *made.tags))))
