"""
The admin site as its clients see it.
"""

from __future__ import annotations

import json
import re

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from suuupra_gateway.admin.report import Threads
from suuupra_gateway.config.model import AdminSpec
from suuupra_gateway.interfaces import IControl
from suuupra_gateway.tally import RouteTally, Sample, Snapshot
from tests.admin.control import Browser, FakeControl, parse

PATHS = [
    "/",
    "/metrics",
    "/healthz",
    "/readyz",
    "/api",
    "/api/",
    "/api/plan",
    "/api/routes",
    "/api/upstreams",
    "/api/workers",
]


def snapshot(requests: int = 7) -> Snapshot:
    users = RouteTally.empty()
    users.requests["GET", 200, "upstream"] = requests
    users.requests["GET", 503, "gateway"] = 1
    users.errors["no_peer", "upstream"] = 1
    users.attempts["answered"] = requests
    users.duration.observe((Snapshot().durations), 0.14)
    nobody = RouteTally.empty()
    nobody.requests["GET", 404, "gateway"] = 4
    return Snapshot(
        routes={("users", "users"): users, ("-", "-"): nobody},
        samples=[
            Sample("suuupra_endpoints", (("service", "users"), ("state", "active")), 2),
            Sample("suuupra_upstream_connects_total", (("service", "users"),), 5),
        ],
    )


def test_the_fake_control_is_what_the_supervisor_must_be():
    assert verifyObject(IControl, FakeControl())


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_answered_and_carries_the_security_headers(path):
    answer = Browser(FakeControl()).ask(path)

    assert answer.status == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
def test_head_says_what_get_would_without_the_body(path):
    browser = Browser(FakeControl())

    head, get = browser.ask(path, method="HEAD"), browser.ask(path)

    assert head.status == 200
    assert head.body == b""
    assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.body))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused_and_told_which_are_allowed(method):
    answer = Browser(FakeControl()).ask("/api/plan", method=method)

    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert json.loads(answer.body)["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/nothing", "/metrics/", "/healthz/x", "/api/plan/x/y", "/api//", "//metrics"]
)
def test_unknown_paths_are_problems(path):
    answer = Browser(FakeControl()).ask(path)

    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["code"] == "not_routed"


# -- what nobody wants ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 300000",
        "Transfer-Encoding: chunked",
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 300000",
    ],
)
def test_bodies_are_thrown_away_as_they_come(framing):
    transport, channel = Browser(FakeControl()).open(
        f"POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}\r\n\r\n".encode()
    )
    body = b"x" * 300_000
    kept = channel.requests[0].content
    if "chunked" in framing:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    for start in range(0, len(body), 10_000):
        channel.dataReceived(body[start : start + 10_000])
        assert kept.closed or kept.getvalue() == b""
    assert parse(transport.value()).status == 405


def test_connections_have_a_limit():
    browser = Browser(FakeControl())
    made = [browser.open(b"")[1] for _ in range(256)]
    assert browser.site.buildProtocol(None) is None
    made[0].connectionLost(Failure(ConnectionLost()))
    assert browser.ask("/healthz").status == 200


# -- Host -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:9900",
        "127.0.0.1:80",
        "localhost",
        "LOCALHOST:9900",
        "localhost.",
        "[::ffff:127.0.0.1]:9900",
    ],
)
def test_our_own_addresses_and_names_are_answered(host):
    assert Browser(FakeControl()).ask("/healthz", host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:9900",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "[::1]",
        "[",
        "a]",
        "localhost:80@evil.example",
        "localhost:80:80",
        "localhost/",
    ],
)
def test_any_other_host_is_misdirected(host):
    answer = Browser(FakeControl()).ask("/api/plan", host=host)

    assert answer.status == 421 or (host is None and answer.status == 400)
    assert b"generation" not in answer.body
    assert b"evil" not in answer.body


def test_two_host_fields_are_refused():
    transport, _ = Browser(FakeControl()).open(
        b"GET /api/plan HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    )

    assert parse(transport.value()).status in (400, 421)


def test_configured_names_are_answered():
    browser = Browser(FakeControl(), AdminSpec(hosts=("admin.internal", "10.1.2.3")))

    assert browser.ask("/healthz", host="Admin.Internal:9900").status == 200
    assert browser.ask("/healthz", host="10.1.2.3").status == 200
    assert browser.ask("/healthz", host="localhost").status == 421


def test_a_listener_named_by_host_name_answers_to_it():
    browser = Browser(FakeControl(), AdminSpec(address="admin.internal:9900", hosts=()))

    assert browser.ask("/healthz", host="admin.internal:9900").status == 200


def test_a_wildcard_listener_answers_to_the_address_that_was_connected_to():
    browser = Browser(FakeControl(), AdminSpec(address="0.0.0.0:9900"), local=IPv4Address("TCP", "10.0.0.7", 9900))

    assert browser.ask("/healthz", host="10.0.0.7:9900").status == 200
    assert browser.ask("/healthz", host="10.0.0.8:9900").status == 421


def test_ipv6_is_compared_as_an_address_and_not_as_text():
    browser = Browser(
        FakeControl(), AdminSpec(address="[::1]:9900", hosts=()), local=IPv6Address("TCP", "fd00::7%eth0", 9900)
    )

    assert browser.ask("/healthz", host="[0:0:0:0:0:0:0:1]:9900").status == 200
    assert browser.ask("/healthz", host="[fd00:0::7]").status == 200
    assert browser.ask("/healthz", host="[fd00::8]").status == 421


def test_a_unix_socket_answers_to_any_host():
    browser = Browser(FakeControl(), AdminSpec(address="unix:/run/admin.sock"), local=UNIXAddress("/run/admin.sock"))

    assert browser.ask("/healthz", host="whatever").status == 200


# -- health -----------------------------------------------------------------------------------------------------------


def test_health_and_readiness_say_why_not():
    control = FakeControl()
    control.well = False
    control.serving = (False, "no worker has a plan")
    browser = Browser(control)

    health, readiness = browser.ask("/healthz"), browser.ask("/readyz")

    assert health.status == 503
    assert readiness.status == 503
    assert json.loads(readiness.body)["detail"] == "no worker has a plan"


# -- state ------------------------------------------------------------------------------------------------------------


def test_the_plan_is_shown_as_the_supervisor_tells_it():
    assert json.loads(Browser(FakeControl()).ask("/api/plan").body)["digest"] == "abc"


def test_workers_are_shown_with_readiness():
    shown = json.loads(Browser(FakeControl()).ask("/api/workers").body)

    assert shown["ready"] is True
    assert [worker["pid"] for worker in shown["workers"]] == [41, 42]


def test_routes_are_shown_in_file_order_with_their_traffic():
    control = FakeControl()
    control.encoded = [snapshot(7).encode(), snapshot(3).encode()]

    shown = json.loads(Browser(control).ask("/api/routes").body)

    assert [route["name"] for route in shown["routes"]] == ["users", "quiet"]
    users, quiet = (route["traffic"] for route in shown["routes"])
    assert users["requests"] == 12
    assert users["codes"] == {"2xx": 10, "5xx": 2}
    assert users["errors"] == {"no_peer": 2}
    assert 125 < users["duration_ms"]["p99"] <= 150
    assert users["overhead_ms"]["p99"] is None
    assert quiet is None
    assert shown["others"]["-"]["codes"] == {"4xx": 8}


def test_upstreams_are_shown_with_their_gauges():
    control = FakeControl()
    control.encoded = [snapshot().encode(), snapshot().encode()]

    (users,) = json.loads(Browser(control).ask("/api/upstreams").body)["upstreams"]

    assert users["name"] == "users"
    assert users["traffic"]["attempts"] == {"answered": 14}
    assert users["traffic"]["gauges"] == {'endpoints{state="active"}': 2.0, "upstream_connects_total": 10.0}


def test_a_supervisor_without_a_configuration_has_no_routes():
    control = FakeControl()
    control.tree = {"generation": 0}

    assert json.loads(Browser(control).ask("/api/routes").body)["routes"] == []
    assert Browser(control).ask("/").status == 200


# -- waiting ----------------------------------------------------------------------------------------------------------


class Paused(Threads):
    """Does the work when it is told to."""

    def __init__(self):
        self.jobs = []

    def run(self, work):
        done = Deferred()
        self.jobs.append(lambda: done.callback(work()))
        return done


def test_scrapers_that_come_together_share_one_rendering():
    control, threads = FakeControl(), Paused()
    browser = Browser(control, threads=threads)
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    first, _ = browser.open(request)
    second, _ = browser.open(request)
    assert first.value() == b""

    (job,) = threads.jobs
    job()

    assert control.asked == 1
    assert parse(first.value()).body == parse(second.value()).body
    assert b"suuupra_config_generation 3.0" in first.value()
    third, _ = browser.open(request)
    assert control.asked == 2
    assert third.value() == b""


def test_a_client_that_leaves_harms_nobody_who_waits_with_it():
    threads = Paused()
    browser = Browser(FakeControl(), threads=threads)
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    _, impatient = browser.open(request)
    patient, _ = browser.open(request)

    impatient.connectionLost(Failure(ConnectionLost()))
    threads.jobs[0]()

    assert parse(patient.value()).status == 200


def test_a_supervisor_that_fails_is_a_500_without_details_and_the_next_scrape_tries_again():
    control = FakeControl()
    control.answer = Deferred()
    browser = Browser(control)
    transport, _ = browser.open(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        control.answer.errback(RuntimeError("the secret is hunter2"))
    finally:
        globalLogPublisher.removeObserver(events.append)

    answer = parse(transport.value())
    assert answer.status == 500
    assert json.loads(answer.body)["code"] == "internal_error"
    assert b"hunter2" not in answer.body
    assert any(event["log_level"] is LogLevel.critical for event in events)
    control.answer = None
    assert browser.ask("/metrics").status == 200


# -- the page for people ----------------------------------------------------------------------------------------------


def test_the_front_page_loads_nothing_and_escapes_what_it_shows():
    control = FakeControl()
    control.serving = (False, "<script>alert(1)</script>")

    page = Browser(control).ask("/").body.decode()

    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.findall(r'(?:src|href)="(?!/)', page)
    for path in re.findall(r'href="([^"]+)"', page):
        assert Browser(control).ask(path).status in (200, 503)


def test_the_front_page_keeps_to_its_own_content_security_policy():
    import base64
    import hashlib

    answer = Browser(FakeControl()).ask("/")

    (style,) = re.findall(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "style=" not in answer.body.decode()
