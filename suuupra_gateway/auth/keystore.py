"""
What is known of API keys, and where it is kept: the records, and what every store can do.

A store never sees a key, only its id and a keyed hash of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, Protocol

import msgspec
from twisted.internet.defer import Deferred

USAGES: Final = 100
"""Callers of one key that are remembered."""

AUDITED: Final = 10_000
"""Entries of the audit log that are kept."""

TOUCHED: Final = 300.0
"""Seconds between two notes that a key is in use."""

Status = Literal["active", "revoked"]


class KeyRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is known of one key. Times are UNIX seconds, 0 for never."""

    id: str
    """The part of the key that is no secret."""

    hash: str
    """HMAC-SHA-256 of the whole key, in hex."""

    pepper: str
    """Which pepper went into the hash: the first hex digits of the pepper's own SHA-256."""

    environment: str
    owner: str
    """Whose it is: a person, a team, a customer. What upstreams are told."""

    name: str = ""
    """What it is for, in the owner's words."""

    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    tenant: str = ""
    routes: tuple[str, ...] = ()
    """Names of the only routes where it is good; empty for all."""

    cidrs: tuple[str, ...] = ()
    """The only addresses from which it may come; empty for all."""

    not_before: float = 0.0
    expires_at: float = 0.0
    tier: str = ""
    limits: dict[str, str] = {}
    """Limits of its own, by policy."""

    status: Status = "active"
    rotated_from: str = ""
    """The id of the key that it replaces."""

    rotated_to: str = ""
    """The id of the key that replaces it."""

    overlap_until: float = 0.0
    """When it ends because it was replaced."""

    created_at: float = 0.0
    created_by: str = ""
    revoked_at: float = 0.0
    revoked_by: str = ""
    revoked_why: str = ""
    notes: dict[str, str] = {}

    def encode(self) -> bytes:
        """As JSON."""
        return _encode(self)

    @classmethod
    def decode(cls, data: bytes) -> KeyRecord:
        """
        The inverse of `encode`.

        :raises ValueError: it is no record.
        """
        try:
            return _decode(data)
        except msgspec.DecodeError as error:
            raise ValueError(f"no record of a key: {error}") from error

    def ends(self) -> float:
        """When it ends by itself; 0 for never."""
        ends = [time for time in (self.expires_at, self.overlap_until) if time]
        return min(ends) if ends else 0.0

    def state(self, now: float) -> str:
        """``active``, ``revoked``, ``expired``, ``replaced`` or ``not-yet``."""
        if self.status == "revoked":
            return "revoked"
        if self.expires_at and now >= self.expires_at:
            return "expired"
        if self.overlap_until and now >= self.overlap_until:
            return "replaced"
        if now < self.not_before:
            return "not-yet"
        return "active"


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(KeyRecord).decode


class Usage(msgspec.Struct, frozen=True):
    """Somebody who uses a key."""

    client: str
    agent: str
    first: float
    last: float
    count: int
    """How often it was noted, not how many requests there were."""


class AuditEntry(msgspec.Struct, frozen=True):
    """Something that was done with keys."""

    at: float
    actor: str
    action: str
    id: str
    detail: str = ""


class IKeyStore(Protocol):
    """Keeps records. All Deferreds errback `StoreUnavailable` if it cannot be reached."""

    def get(self, id: str) -> Deferred[KeyRecord | None]:
        """The record of a key; None if there is none."""

    def put(self, record: KeyRecord, expected: KeyRecord | None, entry: AuditEntry) -> Deferred[bool]:
        """
        Keep ``record`` in place of ``expected`` (None for a new one), and note it in the audit log, or do neither.

        False if what is kept is not ``expected``: somebody was faster.
        """

    def all(self) -> Deferred[list[KeyRecord]]:
        """All records, oldest first."""

    def touch(self, id: str, at: float, client: str, agent: str) -> Deferred[None]:
        """Note that a key is in use, and by whom."""

    def used(self, ids: Iterable[str]) -> Deferred[Mapping[str, float]]:
        """When keys were last in use, for those of which it is known."""

    def usage(self, id: str) -> Deferred[list[Usage]]:
        """Who uses a key, the latest first."""

    def audit(self, limit: int) -> Deferred[list[AuditEntry]]:
        """What was done, the latest first."""

    def revoke(self, tags: Iterable[str], at: float) -> Deferred[None]:
        """Let all gateways know that ``tags`` are revoked; see `auth.revocations`."""

    def revocations(self, since: float) -> Deferred[Mapping[str, float]]:
        """What was revoked at or after ``since``, by tag."""


def agent_of(value: bytes | None) -> str:
    """A ``User-Agent`` as it is noted: short, and nothing but visible characters."""
    if value is None:
        return ""
    return "".join(char if char.isprintable() else "?" for char in value[:120].decode("utf-8", "replace"))
