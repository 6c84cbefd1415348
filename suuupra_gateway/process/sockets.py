"""
Listening sockets: bound by the supervisor, or taken from the service manager, and inherited by all workers.

A listener is either *shared*, one socket on which every worker accepts, or *slotted*: one ``SO_REUSEPORT`` socket per
worker's slot. All workers inherit all slots, so while a worker is down a sibling can accept on its socket; and because the
supervisor never closes a slot in between, no connection that the kernel queued there is lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping

import attrs

from suuupra_gateway.config.model import AdminSpec, ListenerSpec
from suuupra_gateway.net.address import Address

_FIRST_PASSED = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)


Manager = Mapping[str, list[socket.socket]]
"""Sockets that the service manager passed, by name."""


class CannotListen(Exception):
    """A listener's address cannot be had; the message names both and the reason."""


@attrs.frozen(eq=False)
class BoundListener:
    """The sockets of one listener, owned by the supervisor; closing them ends the listener."""

    name: str
    address: str
    """As configured."""

    shared: tuple[socket.socket, ...] = ()
    """Each worker accepts on all of these."""

    slots: tuple[socket.socket, ...] = ()
    """The worker of slot k accepts on the k-th."""

    path: str = ""
    """File that `close` removes, for a UNIX socket that we bound ourselves."""

    inode: int = 0

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """All of them."""
        return self.shared + self.slots

    def where(self) -> str:
        """The address as the kernel knows it, such as the port that it chose for port 0."""
        first = self.sockets[0]
        return self.address if first.family == socket.AF_UNIX else str(_address_of(first))

    def close(self) -> None:
        """Close them all, and remove the file of a UNIX socket unless somebody else has put theirs there."""
        for sock in self.sockets:
            sock.close()
        if self.path and not self.path.startswith("@"):
            with contextlib.suppress(OSError):
                if os.stat(self.path).st_ino == self.inode:
                    os.unlink(self.path)


def _address_of(sock: socket.socket) -> Address:
    name = sock.getsockname()
    return Address(host=name[0], port=name[1])


def passed(environ: Mapping[str, str], pid: int) -> dict[str, list[socket.socket]]:
    """
    The listening sockets that the service manager passed, by ``FileDescriptorName``; several may have the same name.

    To be called once. The descriptors are closed on exec from then on.
    """
    count, owner, names = (environ.get(name, "") for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"))
    if owner != str(pid) or not count.isdigit():
        return {}
    found: dict[str, list[socket.socket]] = {}
    named = names.split(":") if names else []
    for index in range(int(count)):
        sock = socket.socket(fileno=_FIRST_PASSED + index)
        sock.set_inheritable(False)
        sock.setblocking(False)
        found.setdefault(named[index] if index < len(named) else "unknown", []).append(sock)
    return found


def bind(listener: ListenerSpec, slots: int, manager: Manager) -> BoundListener:
    """
    Take or make the sockets of ``listener``.

    :param slots: number of workers; the number of sockets of a slotted listener, at least one.
    :param manager: what `passed` returned.
    :raises CannotListen: and nothing stays open.
    """
    scheme, _, name = listener.address.partition(":")
    if scheme == "systemd":
        given = manager.get(name)
        if not given:
            raise CannotListen(
                f"listener {listener.name}: no socket named {name!r} was passed"
                f" (names that were: {', '.join(sorted(manager)) or 'none'})"
            )
        # Duplicates, so that what closes here stays open there and a reload can take it again.
        return BoundListener(listener.name, listener.address, shared=tuple(sock.dup() for sock in given))
    try:
        address = Address.parse(listener.address)
        if address.path:
            # Who sends a PROXY protocol header is believed whatever it says, so not everybody on this machine may.
            mode = 0o660 if listener.proxy_protocol else 0o666
            sock, inode = bind_unix(address.path, listener.backlog, mode=mode)
            return BoundListener(listener.name, listener.address, (sock,), path=address.path, inode=inode)
        if slotted(listener) and slots > 0:
            return BoundListener(
                listener.name, listener.address, slots=tuple(_bind_slots(address, listener.backlog, slots))
            )
        return BoundListener(listener.name, listener.address, (bind_tcp(address, listener.backlog),))
    except (OSError, ValueError) as reason:
        raise CannotListen(f"listener {listener.name}: cannot listen on {listener.address}: {reason}") from reason


def slotted(listener: ListenerSpec) -> bool:
    """
    Whether workers get a socket each.

    ``auto`` says yes for TCP: see ``tests/bench/balance.py`` for how both spread connections. UNIX sockets know no
    ``SO_REUSEPORT``, and a service manager passes one socket.
    """
    return listener.share != "inherit" and not listener.address.startswith(("unix:", "systemd:"))


def bind_tcp(address: Address, backlog: int, *, reuseport: bool = False, listen: bool = True) -> socket.socket:
    """
    One listening TCP socket, non-blocking, not inheritable. An IPv6 address takes IPv6 only.

    :raises OSError: if it cannot be bound, or the host is no address of ours.
    """
    family, _, _, _, name = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuseport:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # Else [::]:80 and 0.0.0.0:80 exclude each other, and IPv4 clients appear as ::ffff:… in logs and rules.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        if listen:
            sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_slots(address: Address, backlog: int, count: int) -> Iterator[socket.socket]:
    made: list[socket.socket] = []
    try:
        # The first without SO_REUSEPORT would keep the others out, so a foreign process of the same user could share the
        # port as well. Hence the probe: somebody who listens there already makes it fail.
        if address.port:
            bind_tcp(address, 1).close()
        for _ in range(count):
            made.append(bind_tcp(address, backlog, reuseport=True))
            address = attrs.evolve(address, port=made[0].getsockname()[1])
    except BaseException:
        for sock in made:
            sock.close()
        raise
    return iter(made)


def bind_unix(path: str, backlog: int, *, mode: int) -> tuple[socket.socket, int]:
    """
    A listening UNIX socket and the inode of its file.

    A file left behind by a process that died is replaced; a socket on which somebody still listens is not.

    :param mode: permissions of the file; connecting needs the right to write.
    :raises OSError: if the path is taken or cannot be made.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if path.startswith("@"):
            sock.bind("\0" + path[1:])
            sock.listen(backlog)
            return sock, 0
        _refuse_taken(path)
        # Under another name first: so nobody meets it before it listens and has its mode, and the old one is replaced
        # at once.
        temporary = f"{path}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        sock.bind(temporary)
        try:
            os.chmod(temporary, mode)
            sock.listen(backlog)
            inode = os.stat(temporary).st_ino
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except BaseException:
        sock.close()
        raise
    return sock, inode


def _refuse_taken(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, "there is a file that is no socket", path)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return  # stale
        except BlockingIOError:
            pass  # its backlog is full: alive
    raise OSError(errno.EADDRINUSE, "another process listens there", path)


def bind_admin(spec: AdminSpec) -> BoundListener | None:
    """
    The admin listener's socket, or None for ``off``.

    :raises CannotListen: with the reason.
    """
    if spec.address == "off":
        return None
    try:
        address = Address.parse(spec.address)
        if address.path:
            sock, inode = bind_unix(address.path, 128, mode=0o660)
            return BoundListener("admin", spec.address, (sock,), path=address.path, inode=inode)
        return BoundListener("admin", spec.address, (bind_tcp(address, 128),))
    except (OSError, ValueError) as reason:
        raise CannotListen(f"admin: cannot listen on {spec.address}: {reason}") from reason


def rebind(
    before: Iterable[BoundListener], listeners: Iterable[ListenerSpec], slots: int, manager: Manager
) -> tuple[BoundListener, ...]:
    """
    The sockets for a new set of listeners: those of ``before`` at the same address, and new ones.

    How a socket is shared stays as it was bound until the next start.

    :raises CannotListen: and what is new is closed again.
    """
    had = {bound.address: bound for bound in before}
    made: list[BoundListener] = []
    try:
        for listener in listeners:
            bound = had.get(listener.address)
            if bound is None:
                made.append(bind(listener, slots, manager))
            elif bound.slots and slots > 0:
                made.append(attrs.evolve(bound, name=listener.name, slots=_resized(bound.slots, slots)))
            else:
                made.append(attrs.evolve(bound, name=listener.name))
    except (CannotListen, OSError) as reason:
        close_unused(made, before)
        raise reason if isinstance(reason, CannotListen) else CannotListen(str(reason)) from reason
    return tuple(made)


def _resized(slots: tuple[socket.socket, ...], count: int) -> tuple[socket.socket, ...]:
    # New ones do not listen yet: the kernel would give them connections for which no worker is there. Workers begin it.
    # None is closed: that would lose what the kernel has queued there. Siblings accept on those that have no worker.
    address = _address_of(slots[0])
    more = [bind_tcp(address, 0, reuseport=True, listen=False) for _ in range(count - len(slots))]
    return (*slots, *more)


def close_unused(listeners: Iterable[BoundListener], kept: Iterable[BoundListener]) -> None:
    """Close what of ``listeners`` is not in ``kept`` as well."""
    kept = tuple(kept)
    sockets = {id(sock) for bound in kept for sock in bound.sockets}
    paths = {bound.path for bound in kept}
    for bound in listeners:
        for sock in bound.sockets:
            if id(sock) not in sockets:
                sock.close()
        if bound.path not in paths:
            bound.close()
