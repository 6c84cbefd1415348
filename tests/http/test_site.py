"""
A listener's connections, all of them.
"""

import re
import uuid

import pytest
from twisted.web.server import Site

from suuupra_gateway.errors import Draining
from suuupra_gateway.http.site import ignore
from tests.http.edge import GET, OK, Edge


def fired(deferred):
    results = []
    deferred.addCallback(results.append)
    return bool(results)


def test_it_is_a_site_of_twisted_web_and_needs_no_reactor():
    edge = Edge()
    assert isinstance(edge.site, Site)
    edge.site.startFactory()
    edge.site.stopFactory()
    assert edge.site.resource is edge.leaf
    assert ignore(None) is None


def test_connections_are_counted_and_capped():
    edge = Edge(limits={"connections": 2})
    first = edge.channel
    edge.connect()
    assert edge.connect() is None
    assert (edge.site.counters.accepted, edge.site.counters.refused) == (2, 1)
    edge.channel = first
    edge.lose()
    assert edge.connect() is not None
    assert len(edge.site.channels) == 2


def test_requests_are_counted():
    edge = Edge()
    edge.send(GET * 3 + b"x\r\n\r\n")
    counters = edge.site.counters
    assert (counters.requests, counters.bad_requests, counters.dropped_headers) == (3, 1, 0)
    edge.connect()
    edge.send(GET.replace(b"\r\n\r\n", b"\r\nA_b: c\r\n\r\n"))
    assert counters.dropped_headers == 1


def test_ids_are_uuids_of_version_7_that_count_up():
    edge = Edge()
    ids = [edge.site.next_id() for _ in range(1000)]
    edge.after(0.2)
    ids += [edge.site.next_id() for _ in range(1000)]
    assert len(set(ids)) == 2000
    parsed = [uuid.UUID(id.decode()) for id in ids]
    assert {id.version for id in parsed} == {7}
    assert {id.variant for id in parsed} == {uuid.RFC_4122}
    assert ids[:1000] == sorted(ids[:1000])
    assert all(re.fullmatch(rb"[0-9a-f-]{36}", id) for id in ids)


@pytest.mark.parametrize(("name", "prefix"), [("gw", b"gw; error="), ("0", b'"0"; error=')])
def test_the_name_for_proxy_status(name, prefix):
    assert Edge(name=name).site.proxy_status == prefix


# -- drain --------------------------------------------------------------------------------------------------------------


def test_nothing_to_drain_is_drained():
    assert fired(Edge(connect=False).site.drain())


def test_idle_connections_are_closed_at_once():
    edge = Edge()
    edge.send(GET)
    edge.after(5)
    done = edge.site.drain()
    assert edge.closing
    assert not fired(done)
    edge.lose()
    assert fired(done)


def test_all_who_wait_for_the_end_of_the_drain_are_told():
    edge = Edge()
    waiting = [edge.site.drain(), edge.site.drain()]
    edge.lose()
    assert all(map(fired, waiting))


def test_a_connection_in_use_a_moment_ago_gets_one_more_request():
    edge = Edge()
    edge.send(GET)
    edge.after(0.5)
    edge.site.drain()
    assert not edge.closing
    edge.send(GET)
    assert edge.answers(b"GET", b"GET")[1].headers[b"connection"] == b"close"
    assert edge.closing


def test_but_not_more_than_a_second():
    edge = Edge()
    edge.send(GET)
    edge.site.drain()
    edge.after(1.2)
    assert edge.closing


def test_a_fresh_connection_gets_its_request_too():
    edge = Edge()
    edge.after(3)
    edge.site.drain()
    assert not edge.closing
    edge.send(GET)
    assert edge.answer().status == 200
    assert edge.closing


def test_a_head_that_has_begun_may_end():
    edge = Edge()
    edge.send(GET[:10])
    edge.site.drain()
    edge.after(5)
    edge.send(GET[10:])
    assert edge.answer().headers[b"connection"] == b"close"


def test_an_exchange_that_has_begun_may_end():
    edge = Edge(None)
    edge.send(GET)
    done = edge.site.drain()
    edge.after(20)
    assert not edge.closing
    edge.exchange.respond(OK)
    assert edge.answer().headers[b"connection"] == b"close"
    assert edge.closing
    edge.lose()
    assert fired(done)


def test_who_connects_during_the_drain_is_served_once():
    edge = Edge()
    edge.site.drain()
    edge.connect()
    edge.send(GET)
    assert edge.answer().headers[b"connection"] == b"close"
    edge.connect()
    edge.after(1.2)
    assert edge.closing


def test_in_the_end_all_are_dropped():
    edge = Edge(None)
    edge.send(GET)
    busy = edge.transport
    edge.connect()
    edge.site.abort_all()
    assert busy.disconnected
    assert edge.aborted
    (exchange,) = edge.settled
    assert isinstance(exchange.outcome.error, Draining)
