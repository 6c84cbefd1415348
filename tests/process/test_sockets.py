"""Listening sockets: bound, passed, shared, kept and closed."""

import json
import os
import socket
import stat
import subprocess
import sys

import pytest

from suuupra_gateway.config.model import AdminSpec, ListenerSpec
from suuupra_gateway.process.sockets import (
    CannotListen,
    bind,
    bind_admin,
    close_unused,
    passed,
    rebind,
    slotted,
)


def listener(address, name="public", **more):
    return ListenerSpec(name=name, address=address, **more)


@pytest.fixture
def bound():
    """Bind listeners that are closed in the end."""
    made = []

    def make(address, slots=0, manager=None, **more):
        made.append(bind(listener(address, **more), slots, manager or {}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def accepts(address):
    """Whether somebody listens at ``address``."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_port_of_zero_is_chosen_by_the_kernel_and_told(bound):
    made = bound("127.0.0.1:0", share="inherit")
    assert len(made.shared) == 1
    assert made.where() == f"127.0.0.1:{made.shared[0].getsockname()[1]}"
    assert accepts(made.where())


def test_slots_are_as_many_sockets_on_one_port(bound):
    made = bound("127.0.0.1:0", 3, share="reuseport")
    assert len({sock.getsockname()[1] for sock in made.slots}) == 1
    assert len(made.slots) == 3
    assert made.shared == ()


def test_sockets_are_non_blocking_and_not_inherited_by_chance(bound):
    for sock in bound("127.0.0.1:0", 2, share="reuseport").sockets:
        assert sock.getblocking() is False
        assert sock.get_inheritable() is False


def test_a_port_that_somebody_else_has_is_refused_even_with_slots(bound):
    taken = bound("127.0.0.1:0", 2, share="reuseport")
    with pytest.raises(CannotListen, match=r"listener public: cannot listen on .*in use"):
        bound(taken.where(), 2, share="reuseport")


def test_an_ipv6_listener_leaves_the_same_port_on_ipv4_to_others(bound):
    six = bound("[::]:0", share="inherit")
    port = six.shared[0].getsockname()[1]
    assert six.where() == f"[::]:{port}"
    bound(f"0.0.0.0:{port}", share="inherit")


def test_an_address_that_is_not_ours_is_refused(bound):
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1"):
        bound("192.0.2.1:0")


def test_how_a_listener_is_shared():
    assert slotted(listener("127.0.0.1:80", share="reuseport"))
    assert not slotted(listener("127.0.0.1:80", share="inherit"))
    assert not slotted(listener("unix:/run/x.sock"))
    assert not slotted(listener("systemd:public"))


def test_a_unix_socket_is_open_to_all_who_may_reach_it_and_removed_at_the_end(bound, tmp_path):
    path = tmp_path / "gateway.sock"
    made = bound(f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    made.close()
    assert not path.exists()


def test_not_everybody_may_announce_clients_over_a_unix_socket(bound, tmp_path):
    path = tmp_path / "gateway.sock"
    bound(f"unix:{path}", proxy_protocol=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_unix_socket_left_behind_is_replaced(bound, tmp_path):
    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    bound(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert os.listdir(tmp_path) == ["gateway.sock"]


def test_a_unix_socket_in_use_is_not_taken_away(bound, tmp_path):
    path = tmp_path / "gateway.sock"
    bound(f"unix:{path}")
    with pytest.raises(CannotListen, match="another process listens there"):
        bound(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_file_that_is_no_socket_is_not_taken_away(bound, tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(CannotListen, match="no socket"):
        bound(f"unix:{path}")
    assert path.read_text() == "data"


def test_closing_does_not_remove_a_successor_at_the_same_path(bound, tmp_path):
    path = tmp_path / "gateway.sock"
    first = bound(f"unix:{path}")
    path.rename(tmp_path / "aside")
    bound(f"unix:{path}")
    first.close()
    assert path.exists()


def test_an_abstract_unix_socket_needs_no_file(bound):
    name = f"@suuupra-test-{os.getpid()}"
    bound(f"unix:{name}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + name[1:])


# -- from the service manager -----------------------------------------------------------------------------------------


SHOW = """
import json, os
import twisted.plugins.twisted_core  # takes the variables away
from suuupra_gateway.process.notify import started_with
from suuupra_gateway.process.sockets import passed
found = passed(started_with(), os.getpid() + OFFSET)
print(json.dumps({
    "found": {name: [sock.fileno() for sock in socks] for name, socks in found.items()},
    "inheritable": any(sock.get_inheritable() for socks in found.values() for sock in socks),
}))
"""


def activated(*names, offset=0, forget=""):
    """What `passed` says in a process that was given a socket for each of ``names``."""
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    words = [f"{name}={sock.fileno()}" for name, sock in zip(names, socks, strict=True)]
    command = ["env", "-u", forget] if forget else []
    result = subprocess.run(
        [
            sys.executable,
            "tests/servers/activate.py",
            *words,
            "--",
            *command,
            sys.executable,
            "-c",
            SHOW.replace("OFFSET", str(offset)),
        ],
        pass_fds=[sock.fileno() for sock in socks],
        capture_output=True,
        check=True,
    )
    for sock in socks:
        sock.close()
    return json.loads(result.stdout)


def test_passed_sockets_are_found_by_name_and_several_may_share_one():
    seen = activated("public", "public", "internal")
    assert seen["found"] == {"public": [3, 4], "internal": [5]}
    assert seen["inheritable"] is False


def test_sockets_passed_to_another_process_are_not_ours():
    assert activated("public", offset=1)["found"] == {}


def test_sockets_without_names_are_unknown():
    assert activated("a", "b", forget="LISTEN_FDNAMES")["found"] == {"unknown": [3, 4]}


def test_nothing_passed_is_nothing_found():
    assert passed({}, 1) == {}


def test_a_listener_takes_all_sockets_of_its_name(bound):
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    made = bound("systemd:public", 4, {"public": socks})
    assert [sock.getsockname() for sock in made.shared] == [sock.getsockname() for sock in socks]
    made.close()
    assert all(sock.fileno() > 0 for sock in socks), "they stay open for the next reload"
    for sock in socks:
        sock.close()


def test_a_name_that_was_not_passed_is_told_beside_those_that_were(bound):
    with pytest.raises(CannotListen, match=r"no socket named 'public' was passed \(names that were: internal, other\)"):
        bound("systemd:public", 1, {"other": [], "internal": []})
    with pytest.raises(CannotListen, match="none"):
        bound("systemd:public")


# -- reloads ----------------------------------------------------------------------------------------------------------


def test_a_listener_at_the_same_address_keeps_its_socket_under_a_new_name():
    before = (bind(listener("127.0.0.1:0", share="inherit"), 1, {}),)
    after = rebind(before, [listener("127.0.0.1:0", name="front")], 1, {})
    assert after[0].name == "front"
    assert after[0].sockets == before[0].sockets
    close_unused(before, after)
    assert accepts(after[0].where())
    after[0].close()


def test_a_listener_that_is_gone_is_closed_and_a_new_one_is_open(tmp_path):
    before = (
        bind(listener("127.0.0.1:0", share="inherit"), 1, {}),
        bind(listener(f"unix:{tmp_path}/old", name="old"), 1, {}),
    )
    kept = before[0].where()
    after = rebind(before, [listener("127.0.0.1:0"), listener(f"unix:{tmp_path}/new", name="new")], 1, {})
    close_unused(before, after)
    assert accepts(kept)
    assert os.listdir(tmp_path) == ["new"]
    for each in after:
        each.close()


def test_when_one_new_listener_fails_the_other_new_ones_are_closed_again(tmp_path):
    before = (bind(listener("127.0.0.1:0", share="inherit"), 1, {}),)
    with pytest.raises(CannotListen):
        rebind(before, [listener(f"unix:{tmp_path}/new", name="new"), listener("192.0.2.1:0")], 1, {})
    assert os.listdir(tmp_path) == []
    assert accepts(before[0].where())
    before[0].close()


def test_more_slots_get_sockets_that_do_not_listen_until_their_workers_do():
    before = (bind(listener("127.0.0.1:0", share="reuseport"), 1, {}),)
    after = rebind(before, [listener("127.0.0.1:0", share="reuseport")], 3, {})
    assert after[0].slots[:1] == before[0].slots
    assert [sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for sock in after[0].slots] == [1, 0, 0]
    assert len({sock.getsockname() for sock in after[0].slots}) == 1
    after[0].close()


def test_fewer_slots_close_no_socket_as_connections_may_wait_there():
    before = (bind(listener("127.0.0.1:0", share="reuseport"), 3, {}),)
    after = rebind(before, [listener("127.0.0.1:0", share="reuseport")], 1, {})
    assert after[0].slots == before[0].slots
    after[0].close()


# -- admin ------------------------------------------------------------------------------------------------------------


def test_the_admin_listener_may_be_off_tcp_or_unix(tmp_path):
    assert bind_admin(AdminSpec(address="off")) is None
    tcp = bind_admin(AdminSpec(address="127.0.0.1:0"))
    assert accepts(tcp.where())
    unix = bind_admin(AdminSpec(address=f"unix:{tmp_path}/admin"))
    assert stat.S_IMODE((tmp_path / "admin").stat().st_mode) == 0o660
    with pytest.raises(CannotListen, match="admin: cannot listen on"):
        bind_admin(AdminSpec(address=tcp.where()))
    tcp.close()
    unix.close()
