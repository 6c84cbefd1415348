"""Upstreams and their peers: who is picked, who comes and goes, what is connected how."""

from __future__ import annotations

from collections import Counter

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from zope.interface.verify import verifyObject

from suuupra_gateway import errors
from suuupra_gateway.config.model import EndpointSpec, UpstreamSpec
from suuupra_gateway.upstreams.endpoint import Endpoint
from suuupra_gateway.upstreams.upstream import Upstream
from tests.upstreams.rig import Rig


def endpoints(*urls):
    return frozenset(Endpoint.parse(EndpointSpec.model_validate(url)) for url in urls)


def names(upstream):
    return [peer.name for peer in upstream.peers]


# -- picking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["least-request", "round-robin", "random"])
def test_policies_share_the_load(policy):
    rig = Rig(peers=3, balance=policy)
    chances = iter([number / 97 % 1 for number in range(0, 97 * 40, 13)])
    upstream = Upstream(rig.spec, rig.clock, rig.sweep, connect=rig.network.connect, random=lambda: next(chances))
    counts = Counter(upstream.pick(rig.exchange()).name for _ in range(90))
    assert len(counts) == 3
    assert min(counts.values()) >= 15


@pytest.mark.parametrize("key", ["client", "path", "header:X-K", "cookie:k"])
def test_a_hash_keeps_a_key_on_its_peer(key):
    rig = Rig(peers=4, balance={"policy": "hash", "key": key})

    def pick(value):
        exchange = rig.exchange(b"GET", b"/" + value, (b"x-k", value), (b"cookie", b"k=" + value))
        exchange.client = value.decode()
        return rig.upstream.pick(exchange)

    for value in (b"1", b"2", b"3"):
        assert pick(value) is pick(value)
    assert len({pick(b"%d" % value) for value in range(50)}) == 4


def test_a_hash_without_an_exchange_still_finds_somebody():
    rig = Rig(peers=2, balance="hash")
    assert rig.upstream.pick(None) in rig.upstream.peers


def test_weights_count():
    rig = Rig(
        balance="round-robin",
        endpoints=[{"url": "http://a:1", "weight": 3}, "http://b:1", {"url": "http://c:1", "weight": 0}],
    )
    counts = Counter(rig.upstream.pick(rig.exchange()).name for _ in range(40))
    assert counts == {"a:1": 30, "b:1": 10}


def test_the_only_one_with_a_weight_gets_all():
    rig = Rig(endpoints=["http://a:1", {"url": "http://b:1", "weight": 0}])
    assert rig.upstream.pick(rig.exchange(), avoid=rig.upstream.peers).name == "a:1"


def test_nobody_with_a_weight_is_nobody():
    rig = Rig(endpoints=[{"url": "http://a:1", "weight": 0}])
    with pytest.raises(errors.NoPeer):
        rig.upstream.pick(rig.exchange())


# -- coming and going -------------------------------------------------------------------------------------------------


def test_peers_whose_endpoint_stayed_keep_everything():
    rig = Rig(peers=2)
    rig.send()
    rig.wire.answer()
    stayed, left = rig.upstream.peers
    rig.upstream.update(endpoints("http://10.0.0.1:8080", "http://10.0.0.3:8080"))
    assert names(rig.upstream) == ["10.0.0.1:8080", "10.0.0.3:8080"]
    assert rig.upstream.peers[0] is stayed
    assert len(stayed.pool.idle) == 1
    assert rig.upstream.peers[1] is not left


def test_a_weight_may_change_without_a_new_peer():
    rig = Rig(endpoints=["http://a:1", "http://b:1"], balance="round-robin")
    before = rig.upstream.peers
    rig.upstream.update(endpoints({"url": "http://a:1", "weight": 0}, "http://b:1"))
    assert rig.upstream.peers == before
    assert rig.upstream.pick(None).name == "b:1"


def test_plain_and_tls_at_the_same_address_are_two_peers():
    rig = Rig(endpoints=["http://a:1"])
    plain = rig.peer()
    rig.upstream.update(endpoints("https://a:1"))
    assert rig.peer() is not plain


def test_the_same_address_twice_is_one_peer():
    rig = Rig(endpoints=["http://a:1", "http://a:1"])
    assert names(rig.upstream) == ["a:1"]


def test_peers_that_left_close_what_is_idle_and_finish_what_is_not():
    rig = Rig()
    rig.send()
    busy = rig.wire
    exchange = rig.send()
    busy.answer()
    rig.upstream.update(endpoints("http://b:1"))
    assert busy.disconnecting
    assert rig.upstream.snapshot()["leaving"] == 1
    busy.settle()
    rig.wire.answer()
    assert exchange.finished
    assert rig.wire.disconnecting
    rig.wire.settle()
    assert rig.upstream.snapshot()["leaving"] == 0


def test_a_peer_without_connections_is_gone_at_once():
    rig = Rig()
    rig.upstream.update(endpoints("http://b:1"))
    assert rig.upstream.snapshot()["leaving"] == 0


def test_an_upstream_that_nothing_uses_retires_at_once():
    rig = Rig()
    rig.upstream.start()
    assert rig.upstream.retire() is None
    with pytest.raises(errors.NoPeer):
        rig.upstream.pick(None)


def test_an_upstream_retires_when_its_last_exchange_is_over():
    rig = Rig(peers=2)
    exchange = rig.send()
    retired = rig.upstream.retire()
    assert isinstance(retired, Deferred)
    over = []
    retired.addCallback(over.append)
    assert over == []
    rig.wire.answer()
    assert exchange.finished
    rig.wire.settle()
    assert over == [None]


# -- connecting -------------------------------------------------------------------------------------------------------


def test_connections_are_made_with_the_upstreams_timeouts():
    rig = Rig(timeouts={"connect": "250ms", "tls": "3s"})
    rig.send()
    assert rig.network.asked == [("10.0.0.1:8080", {"tls": None, "connect_timeout": 0.25, "tls_timeout": 3.0})]


def test_tls_names_each_endpoint_unless_one_name_is_given_for_all():
    rig = Rig(endpoints=["https://a.example:1", "https://b.example:1"], balance="round-robin")
    rig.send()
    rig.send()
    tls = [options["tls"] for _, options in rig.network.asked]
    assert sorted(each.server_name for each in tls) == ["a.example", "b.example"]
    assert tls[0].context is tls[1].context
    named = Rig(endpoints=["https://10.0.0.1:1"], tls={"server_name": "users.internal"})
    named.send()
    assert named.network.asked[0][1]["tls"].server_name == "users.internal"


def test_files_that_tls_cannot_use_are_found_before_anything_is_connected(tmp_path):
    with pytest.raises(ValueError, match=r"missing\.pem"):
        Rig(endpoints=["https://a:1"], tls={"ca_file": str(tmp_path / "missing.pem")})


def test_unix_sockets_are_endpoints_too():
    rig = Rig(endpoints=["unix:/run/users.sock"])
    exchange = rig.send(authority=b"")
    assert rig.network.asked[0][0] == "unix:/run/users.sock"
    assert b"\r\nhost: localhost\r\n" in rig.wire.take()
    rig.wire.answer()
    assert exchange.outcome.peer == "unix:/run/users.sock"


def test_connections_are_built_by_a_protocol_factory():
    rig = Rig()
    rig.network.slow = True
    rig.send()
    factory = rig.network.pending[0][2]
    verifyObject(IProtocolFactory, factory)
    factory.doStart()
    factory.doStop()


# -- telling ----------------------------------------------------------------------------------------------------------


def test_only_what_is_the_peers_fault_counts_as_its_failure():
    peer = Rig().peer()
    for _ in range(4):
        peer.begin()
    peer.tell(errors.UpstreamClosed(), 0, 0.1)
    assert (peer.failures, type(peer.last_error)) == (1, errors.UpstreamClosed)
    peer.tell(errors.PoolFull(), 0, 0.1)
    peer.tell(None, 0, 0.1)
    assert (peer.failures, type(peer.last_error)) == (1, errors.UpstreamClosed)
    peer.tell(None, 200, 0.1)
    assert (peer.failures, peer.last_error, peer.active) == (1, None, 0)


def test_a_snapshot_says_what_there_is():
    rig = Rig(peers=2)
    rig.send()
    rig.network.failures = [errors.ConnectRefused("no")]
    rig.send(b"GET").leave()
    snapshot = rig.upstream.snapshot()
    assert snapshot["name"] == "users"
    assert snapshot["policy"] == "least-request"
    assert snapshot["active"] == 1
    assert [peer["endpoint"] for peer in snapshot["peers"]] == ["10.0.0.1:8080", "10.0.0.2:8080"]
    first, second = snapshot["peers"]
    assert first == {
        "endpoint": "10.0.0.1:8080",
        "secure": False,
        "weight": 1,
        "active": 1,
        "requests": 1,
        "failures": 0,
        "last_error": None,
        "connections": 1,
        "idle": 0,
        "waiting": 0,
        "connects": 1,
        "connect_failures": 0,
        "reuses": 0,
    }
    assert second["connect_failures"] == 1
    assert second["last_error"] == "upstream_refused"
    assert "users" in repr(rig.upstream)
    assert "10.0.0.1:8080" in repr(rig.peer())


def test_equal_specs_are_the_same_resident():
    tree = {"name": "x", "endpoints": ["http://h:1"]}
    assert UpstreamSpec.model_validate(tree) == UpstreamSpec.model_validate(tree)
