"""
The corpus of `vectors.py`, each case whole and byte by byte.
"""

import pytest

from suuupra_gateway.errors import GatewayError
from suuupra_gateway.http.grammar import METHODS
from tests.http import vectors
from tests.http.edge import OK, Collecting, Edge, read_answers


def taking():
    sinks = []

    def answer(exchange):
        sink = Collecting(exchange, OK)
        sinks.append(sink)
        exchange.body.subscribe(sink)

    return answer, sinks


@pytest.mark.parametrize("step", [10**6, 1], ids=["whole", "bytewise"])
@pytest.mark.parametrize("vector", vectors.ALL, ids=lambda vector: vector.name)
def test_each_vector_is_refused_or_is_one_message(vector, step):
    answer, sinks = taking()
    edge = Edge(answer)
    for start in range(0, len(vector.raw), step):
        if edge.transport.disconnecting:
            break
        edge.send(vector.raw[start : start + step])

    if vector.status:
        assert edge.answer(vector.method).status == vector.status
        assert edge.answer(vector.method).headers[b"connection"] == b"close"
        edge.after(2)
        assert edge.closing
        assert len(edge.leaf.exchanges) <= 1
        assert len(edge.settled) == 1
        assert isinstance(edge.settled[0].outcome.error, GatewayError)
    else:
        assert len(edge.leaf.exchanges) == 1
        head = edge.exchange.head
        assert (head.method, head.path, sinks[0].data) == (vector.method, vector.path, vector.body)
        assert sinks[0].trailers == vector.trailers
        assert edge.site.counters.dropped_headers >= vector.dropped
        assert not any(b"_" in name or b"." in name for name, _ in head.headers)
        assert read_answers(edge.out, vector.method)[0].status == 200


def test_the_corpus_has_no_two_cases_of_one_name():
    assert len({vector.name for vector in vectors.ALL}) == len(vectors.ALL) >= 45


def test_methods_that_make_tunnels_are_unknown():
    assert not {b"CONNECT", b"PRI", b"SOURCE"} & METHODS
