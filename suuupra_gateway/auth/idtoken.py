"""
Tokens about people, and what providers say of them: what is left to check when signature, issuer, audience and dates are right.

Those are verified by `auth.provider.Provider.claims_of`; here is what makes a token the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec
from authlib.oidc.core import CodeIDToken
from joserfc.errors import JoseError

from suuupra_gateway.auth.oauth2 import ProtocolError
from suuupra_gateway.auth.seal import bytes_of


def check_id_token(
    token: str,
    claims: Mapping[str, Any],
    *,
    client_id: str,
    nonce: str,
    access: str,
    max_age: str = "",
    now: float = 0.0,
) -> None:
    """
    What is left to check of an ID token whose signature, issuer, audience and dates are right (OIDC Core section 3.1.3.7).

    :param nonce: of the attempt.
    :param access: the access token that came with it.
    :param max_age: as it was asked for; empty if it was not.
    :raises ProtocolError: it is not for us, not for this attempt, or not with this access token.
    """
    header = _header(token)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise ProtocolError("bad_id_token", "sub")
    if len(_audiences(claims)) > 1 and not claims.get("azp"):
        raise ProtocolError("bad_id_token", "several audiences, and no azp")
    for name in ("nonce", "at_hash", "azp"):
        if name in claims and not (isinstance(claims[name], str) and claims[name]):
            raise ProtocolError("bad_id_token", name)
    checked = CodeIDToken(
        dict(claims),
        header,
        None,  # what it would say of issuer, audience and dates was checked with the signature
        {"nonce": nonce, "client_id": client_id, "access_token": access, "max_age": max_age},
    )
    try:
        for claim in ("iss", "exp", "iat"):
            if claim not in claims:
                raise ProtocolError("bad_id_token", claim)
        checked.validate_auth_time()
        checked.validate_nonce()
        checked.validate_amr()
        checked.validate_azp()
        checked.validate_at_hash()
    except JoseError as error:
        raise ProtocolError("bad_id_token", f"{error.error} {getattr(error, 'claim', '')}".strip()) from error
    if max_age and now - float(claims["auth_time"]) > float(max_age) + _SKEW:
        raise ProtocolError("bad_id_token", "auth_time is too long ago")


_SKEW: Final = 60.0
"""Seconds by which clocks may differ."""


def check_refreshed(
    token: str, claims: Mapping[str, Any], *, before: Mapping[str, Any], subject: str, client_id: str, access: str
) -> None:
    """
    As `check_id_token`, for one that came with a refresh (OIDC Core section 12.2).

    :param before: claims of the one before it.
    :raises ProtocolError: it speaks of somebody else, or is for somebody else.
    """
    checked = CodeIDToken(dict(claims), _header(token), None, {"access_token": access})
    try:
        checked.validate_at_hash()
    except JoseError as error:
        raise ProtocolError("bad_id_token", "at_hash") from error
    if claims.get("sub") != subject:
        raise ProtocolError("bad_id_token", "another sub after a refresh")
    if "azp" in claims and claims["azp"] != client_id:
        raise ProtocolError("bad_id_token", "azp")
    if len(_audiences(claims)) > 1 and not claims.get("azp"):
        raise ProtocolError("bad_id_token", "several audiences, and no azp")
    if "auth_time" in before and claims.get("auth_time", before["auth_time"]) != before["auth_time"]:
        raise ProtocolError("bad_id_token", "another auth_time after a refresh")


LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"


@attrs.frozen
class LogoutToken:
    """Whose sessions the provider has ended: those of ``subject``, or the one called ``sid``, or the one that is both."""

    subject: str
    sid: str
    id: str
    """``jti``, so that it counts once."""

    @classmethod
    def of(cls, claims: Mapping[str, Any], now: float) -> LogoutToken:
        """
        What verified claims mean (OIDC Back-Channel Logout section 2.6).

        :raises ProtocolError: they are of another kind of token.
        """
        events = claims.get("events")
        if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
            raise ProtocolError("bad_logout_token", "no logout among events")
        if "nonce" in claims:
            raise ProtocolError("bad_logout_token", "nonce")  # so that no ID token passes for one
        issued = claims.get("iat")
        if isinstance(issued, bool) or not isinstance(issued, int | float) or now - issued > _LOGOUT_LASTS:
            raise ProtocolError("bad_logout_token", "iat")
        subject, sid, id = (claims.get(name, "") for name in ("sub", "sid", "jti"))
        if not all(isinstance(each, str) and len(each) <= 1024 for each in (subject, sid, id)) or not (subject or sid):
            raise ProtocolError("bad_logout_token", "neither sub nor sid")
        if not id:
            raise ProtocolError("bad_logout_token", "jti")
        return cls(subject, sid, id)


_LOGOUT_LASTS: Final = 600.0
"""Seconds after which a logout token is of no use: whoever has found one must not log people out with it."""


def check_userinfo(body: bytes, subject: str) -> dict[str, Any]:
    """
    What a userinfo endpoint says of ``subject``.

    :raises ProtocolError: it speaks of somebody else (OIDC Core section 5.3.2), or nonsense.
    """
    try:
        tree = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolError("bad_userinfo", "no JSON") from error
    if not isinstance(tree, dict):
        raise ProtocolError("bad_userinfo", "no object")
    if tree.get("sub") != subject:
        raise ProtocolError("wrong_userinfo", "another sub than in the ID token")
    return tree


def _audiences(claims: Mapping[str, Any]) -> Sequence[object]:
    named = claims.get("aud")
    return named if isinstance(named, list) else [named]


def _header(token: str) -> dict[str, Any]:
    """Of a token whose signature is right."""
    header: dict[str, Any] = msgspec.json.decode(bytes_of(token.partition(".")[0].encode("ascii")) or b"", type=dict)
    return header
