"""The target that forwards: which upstream it chooses and what it shows beforehand."""

from __future__ import annotations

from collections import Counter

import pytest
from twisted.web.resource import IResource
from zope.interface.verify import verifyObject

from suuupra_gateway.config.model import ProxySpec, UpstreamSpec
from suuupra_gateway.targets.proxy import ProxyResource
from tests.upstreams.rig import Rig


class Split(Rig):
    """Two upstreams behind one target."""

    def __init__(self, stable=90, canary=10, **proxy):
        super().__init__()
        self.upstreams = {
            name: self.make(UpstreamSpec.model_validate({"name": name, "endpoints": [f"http://{name}:1"]}))
            for name in ("stable", "canary")
        }
        spec = {"split": [{"upstream": "stable", "weight": stable}, {"upstream": "canary", "weight": canary}], **proxy}
        chances = iter([number / 1000 for number in range(1000)] * 3)
        self.proxy = ProxyResource(
            ProxySpec.model_validate(spec), self.upstreams, self.hygiene, self.clock, random=lambda: next(chances)
        )

    def chosen(self, *headers, client="192.0.2.1"):
        exchange = self.exchange(b"GET", b"/a", *headers)
        exchange.client = client
        return self.proxy.choose(exchange).name


def test_it_is_a_leaf_resource():
    rig = Rig()
    verifyObject(IResource, rig.proxy)
    assert rig.proxy.isLeaf
    assert rig.proxy.choose(rig.exchange()) is rig.upstream


def test_a_split_follows_its_weights():
    rig = Split(90, 10)
    assert Counter(rig.chosen() for _ in range(1000)) == {"stable": 900, "canary": 100}


def test_a_split_forwards_to_what_it_chose():
    rig = Split(0, 1)
    exchange = rig.send()
    assert rig.network.asked[0][0] == "canary:1"
    rig.wire.answer()
    assert exchange.outcome.upstream == "canary"


@pytest.mark.parametrize("sticky", ["client", "header:X-User", "cookie:sid"])
def test_a_sticky_caller_stays_on_its_branch(sticky):
    rig = Split(50, 50, sticky=sticky)

    def chosen(number):
        value = b"%d" % number
        return rig.chosen((b"x-user", value), (b"cookie", b"sid=" + value), client=f"192.0.2.{number}")

    branches = [chosen(number) for number in range(200)]
    assert branches == [chosen(number) for number in range(200)]
    assert 70 <= branches.count("canary") <= 130


def test_a_caller_without_the_key_is_left_to_chance():
    rig = Split(50, 50, sticky="cookie:sid")
    assert Counter(rig.chosen() for _ in range(1000)) == {"stable": 500, "canary": 500}


def test_testers_may_name_their_branch_even_one_without_weight():
    rig = Split(100, 0, override_header="X-Branch")
    assert rig.chosen((b"x-branch", b"canary")) == "canary"
    assert rig.chosen((b"x-branch", b"unknown")) == "stable"
    assert rig.chosen() == "stable"


def test_a_preview_is_what_the_upstream_will_see():
    rig = Rig()
    exchange = rig.exchange(b"GET", b"/a", (b"accept", b"*/*"), (b"x-hop", b"1"), (b"keep-alive", b"5"))
    shown = rig.proxy.preview(exchange)
    assert rig.network.asked == []
    rig.proxy.render(exchange)
    lines = rig.wire.take().split(b"\r\n")[1:-2]
    assert [b": ".join(pair) for pair in shown] == lines
    assert (b"keep-alive", b"5") not in shown


def test_a_preview_knows_the_upstreams_own_host_and_no_deadline():
    rig = Rig(proxy={"host": "upstream"}, timeouts={"total": "0s"})
    shown = dict(rig.proxy.preview(rig.exchange()))
    assert shown[b"host"] == b"10.0.0.1:8080"
    assert b"x-request-timeout-ms" not in shown


def test_a_preview_needs_no_endpoint():
    rig = Rig()
    rig.upstream.update(frozenset())
    assert dict(rig.proxy.preview(rig.exchange()))[b"host"] == b"api.example.org"


def test_a_preview_of_what_would_be_refused_is_empty():
    rig = Rig()
    assert rig.proxy.preview(rig.exchange(b"GET", b"/", (b"via", b"1.1 suuupra"))) == []


def test_a_route_may_have_timeouts_of_its_own():
    rig = Rig(proxy={"timeouts": {"total": "2s"}})
    rig.send()
    assert b"x-request-timeout-ms: 2000\r\n" in rig.wire.take()
