"""
Cookies as a login needs them: found among what browsers send, and set so that nobody else reads or plants them.

``__Host-`` makes browsers refuse such a cookie from any other host, without TLS, or for a part of the paths (RFC 6265bis section
4.1.3.2). Over plain HTTP, which is for development, there is no prefix.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Final

from suuupra_gateway.http.message import Pair, RequestHead

PIECE: Final = 3800
"""Bytes of a value in one cookie: browsers take 4096 with name and attributes."""

PIECES: Final = 4
"""Cookies that one value may be spread over."""

_SPACE: Final = b" \t"


def read(head: RequestHead, name: bytes) -> bytes | None:
    """
    The value of the cookie ``name``; None if there is none, and empty if there are several.

    Browsers send one of a name with the prefix. Of several, somebody else has planted all but one.
    """
    found: bytes | None = None
    for each, value in cookies(head):
        if each == name:
            if found is not None:
                return b""
            found = value
    return found


def cookies(head: RequestHead) -> Iterator[Pair]:
    """All cookies of a request, in order (RFC 6265 section 4.2.1; HTTP/2 may have several fields)."""
    for field, line in head.headers:
        if field == b"cookie":
            for pair in line.split(b";"):
                name, equals, value = pair.partition(b"=")
                if equals:
                    yield name.strip(_SPACE), value.strip(_SPACE)


def conceal(head: RequestHead, names: Container[bytes], prefix: bytes) -> None:
    """Take the cookies called ``names``, and those whose names begin with ``prefix``, out of a head."""
    headers = head.headers
    for place in range(len(headers) - 1, -1, -1):
        field, line = headers[place]
        if field != b"cookie":
            continue
        pairs = line.split(b";")
        kept = []
        for pair in pairs:
            name = pair.partition(b"=")[0].strip(_SPACE)
            if name not in names and not name.startswith(prefix):
                kept.append(pair)
        if not kept:
            del headers[place]
        elif len(kept) < len(pairs):
            headers[place] = (field, b";".join(kept).strip(_SPACE))


def names_of(name: bytes) -> tuple[bytes, ...]:
    """The names of all cookies that a value called ``name`` can be spread over."""
    return (name, *(b"%b_%d" % (name, number) for number in range(1, PIECES)))


class CookieJar:
    """How one login names and sets its cookies. Immutable."""

    __slots__ = ("_attributes", "_prefix")

    def __init__(self, secure: bool) -> None:
        self._prefix = b"__Host-" if secure else b""
        self._attributes = b"; Path=/; HttpOnly; SameSite=Lax" + (b"; Secure" if secure else b"")

    def name(self, name: str) -> bytes:
        """The whole name."""
        return self._prefix + name.encode("ascii")

    def set(self, name: bytes, value: bytes, seconds: float | None = None) -> Pair:
        """
        The field that sets a cookie.

        :param name: with its prefix.
        :param seconds: how long browsers keep it; None as long as they are open.
        """
        lifetime = b"" if seconds is None else b"; Max-Age=%d" % max(1, seconds)
        return b"set-cookie", b"%b=%b%b%b" % (name, value, self._attributes, lifetime)

    def clear(self, name: bytes) -> Pair:
        """The field that takes a cookie away."""
        return b"set-cookie", b"%b=%b; Max-Age=0" % (name, self._attributes)

    # -- values that are too long for one -----------------------------------------------------------------------------

    def spread(self, name: bytes, value: bytes, seconds: float | None = None) -> tuple[Pair, ...] | None:
        """As `set`, over as many cookies as needed; those left over from a longer value go. None if it is too long."""
        pieces = [value[start : start + PIECE] for start in range(0, len(value), PIECE)]
        if len(pieces) > PIECES:
            return None
        count = len(pieces)
        names = names_of(name)
        # The first says how many there are: a value must not be put together from two.
        first = value if count == 1 else b"%d.%b" % (count, pieces[0])
        fields = [self.set(name, first, seconds)]
        fields += [self.set(names[place], pieces[place], seconds) for place in range(1, count)]
        return (*fields, *(self.clear(each) for each in names[count:]))

    def gather(self, head: RequestHead, name: bytes) -> bytes | None:
        """What `spread` has spread; None if there is none, and empty if it is not whole."""
        value = read(head, name)
        if value is None or value[1:2] != b".":
            return value
        count = value[:1]
        if count not in (b"2", b"3", b"4"):
            return b""
        pieces = [value[2:]]
        for number in range(1, int(count)):
            piece = read(head, b"%b_%d" % (name, number))
            if not piece:
                return b""
            pieces.append(piece)
        return b"".join(pieces)

    def clear_all(self, name: bytes) -> tuple[Pair, ...]:
        """The fields that take away whatever `spread` has set."""
        return tuple(map(self.clear, names_of(name)))
