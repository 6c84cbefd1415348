"""Warnings: what a configuration may say but hardly should."""

import pytest

from suuupra_gateway.config.decode import gateway_model
from suuupra_gateway.filters.catalog import kinds
from suuupra_gateway.lint import warnings

USERS = {"users": {"endpoints": ["https://127.0.0.1:9001"]}}


def warned(upstreams=USERS, proxy=None, **more):
    tree = {
        "listeners": [{"name": "a", "address": "127.0.0.1:8080"}],
        "upstreams": upstreams,
        "routes": [{"name": "r", "auth": "none", "target": {"proxy": proxy or {"upstream": "users"}}}],
        **more,
    }
    found = warnings(gateway_model(kinds()).model_validate(tree))
    assert all(finding.why for finding in found)
    return [finding.loc for finding in found]


def test_a_sound_configuration_has_none():
    assert warned() == []


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0"])
def test_trusting_everybody(everybody):
    assert warned(gateway={"trusted-proxies": ["10.0.0.0/8", everybody]}) == [("gateway", "trusted-proxies", 1)]


def test_owning_no_header():
    assert warned(gateway={"identity-headers": []}) == [("gateway", "identity-headers")]


@pytest.mark.parametrize("address", ["0.0.0.0:9900", "[::]:9900", "192.0.2.1:9900"])
def test_an_admin_listener_for_everybody(address):
    assert warned(admin={"address": address}) == [("admin", "address")]


@pytest.mark.parametrize("address", ["127.0.0.1:9900", "[::1]:9900", "unix:/run/admin.sock", "off"])
def test_an_admin_listener_for_this_host(address):
    assert warned(admin={"address": address}) == []


def test_keeping_underscores():
    listeners = [{"name": "a", "address": "127.0.0.1:8080", "underscores": "keep"}]
    assert warned(listeners=listeners) == [("listeners", 0, "underscores")]


def test_trusting_any_certificate():
    assert warned({"users": {**USERS["users"], "tls": {"verify": False}}}) == [("upstreams", "users", "tls", "verify")]


def test_an_endpoint_without_traffic():
    idle = {"url": "https://127.0.0.1:9002", "weight": 0}
    assert warned({"users": {"endpoints": ["https://127.0.0.1:9001", idle]}}) == [
        ("upstreams", "users", "endpoints", 1, "weight")
    ]


def test_a_branch_without_traffic():
    split = [{"upstream": "users", "weight": 1}, {"upstream": "next", "weight": 0}]
    assert warned({**USERS, "next": USERS["users"]}, {"split": split}) == [
        ("routes", 0, "target", "proxy", "split", 1, "weight")
    ]


def test_an_upstream_that_no_route_uses():
    assert warned({**USERS, "left": USERS["users"]}) == [("upstreams", "left")]
