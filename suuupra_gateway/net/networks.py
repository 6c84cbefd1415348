"""
Sets of address ranges, and who the client is behind proxies that we trust.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Container, Iterable, Sequence
from functools import lru_cache

_REMEMBERED = 4096
"""Verdicts kept per `Networks`: peers are few, clients many, so the memory is bounded (about 0.5 MiB)."""


def normal(address: str) -> str | None:
    """
    ``address`` in its shortest text form, an IPv4 address that is mapped into IPv6 as IPv4; None if it is no IP address.

    A scope (``fe80::1%eth0``) is kept.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return str(_unmapped(parsed))


def _unmapped(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    # A dual-stack socket reports IPv4 peers as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2); ranges are written as IPv4.
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class Networks:
    """
    An immutable set of address ranges: ``"10.1.2.3" in networks``.

    The cost of a look-up does not grow with the number of ranges, only with that of different prefix lengths. What is no IP
    address (the empty peer of a UNIX socket, a name) is in no range.
    """

    __slots__ = ("cidrs", "_lookup")

    cidrs: tuple[str, ...]
    """The ranges as they were given."""

    def __init__(self, cidrs: Iterable[str]) -> None:
        """
        :param cidrs: such as ``10.0.0.0/8``, ``fd00::/8``; a single address is a range too.
        :raises ValueError: if one is malformed or has host bits set.
        """
        self.cidrs = tuple(cidrs)
        self._lookup = lru_cache(_REMEMBERED)(_compiled(self.cidrs))

    def __contains__(self, address: object) -> bool:
        return self._lookup(address)

    def __bool__(self) -> bool:
        return bool(self.cidrs)

    def __repr__(self) -> str:
        return f"<Networks {' '.join(self.cidrs)}>"


def _compiled(cidrs: tuple[str, ...]) -> Callable[[object], bool]:
    """A function that looks an address up: per IP version and prefix length, a set of the leading bits."""
    tables: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
    for cidr in cidrs:
        network = ipaddress.ip_network(cidr)
        start, length = network.network_address, network.prefixlen
        if isinstance(start, ipaddress.IPv6Address) and start.ipv4_mapped is not None and length >= 96:
            start, length = start.ipv4_mapped, length - 96
        shift = start.max_prefixlen - length
        tables[start.version].setdefault(shift, set()).add(int(start) >> shift)
    ranges = {version: tuple(table.items()) for version, table in tables.items()}

    def contains(address: object) -> bool:
        if not isinstance(address, str):
            return False
        try:
            parsed = _unmapped(ipaddress.ip_address(address))
        except ValueError:
            return False
        number = int(parsed)
        return any(number >> shift in starts for shift, starts in ranges[parsed.version])

    return contains


def _address_in(element: str) -> str | None:
    """The address in one list element of ``X-Forwarded-For``; Practice: some proxies add a port, IPv6 then in brackets."""
    element = element.strip(" \t")
    if "%" in element:
        return None  # a scope is of that host only, and may be any text of any length
    if element.startswith("["):
        inside, bracket, port = element[1:].partition("]")
        return normal(inside) if bracket and (not port or (port[0] == ":" and port[1:].isdecimal())) else None
    if element.count(":") == 1:
        element, _, port = element.partition(":")
        if not port.isdecimal():
            return None
    return normal(element)


def client_of(peer: str, forwarded_for: Sequence[bytes], trusted: Container[str]) -> str:
    """
    The address of the client, walking ``X-Forwarded-For`` from the right past proxies that we trust.

    Nothing left of an address that we do not trust is believed: that one *is* the client. An element that is no address
    (``unknown``, an obfuscated name, rubbish) ends the walk, and the proxy that reported it counts as the client.

    :param peer: the other end of the socket.
    :param forwarded_for: values of all fields of that name, in order of appearance.
    :return: ``peer`` itself unless it is trusted and says otherwise; addresses from the field in normal form.
    """
    if not forwarded_for or peer not in trusted:
        return peer
    client = peer
    for value in reversed(forwarded_for):
        for element in reversed(value.decode("latin-1").split(",")):
            if not element.strip(" \t"):
                continue  # RFC 9110 section 5.6.1.2: empty list elements mean nothing
            address = _address_in(element)
            if address is None:
                return client
            client = address
            if address not in trusted:
                return client
    return client
