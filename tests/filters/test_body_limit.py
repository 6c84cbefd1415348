"""Filter body-limit."""

import pytest
from pydantic import ValidationError

from suuupra_gateway.filters.base import Phase
from suuupra_gateway.filters.body_limit import kind
from tests.filters.running import exchange


def limited(value):
    return kind.filter(kind.spec.model_validate(value), None)


def test_a_longer_body_than_allowed_is_refused_by_its_declared_length():
    verdict = limited("1KiB").request(exchange("POST /", ("Content-Length", "1025")))
    assert (verdict.status, verdict.code) == (413, "body_too_large")


@pytest.mark.parametrize("length", ["0", "1024"])
def test_a_body_within_the_limit_passes(length):
    assert limited("1KiB").request(exchange("POST /", ("Content-Length", length))) is None


def test_the_limit_holds_for_bodies_of_unknown_length():
    seen = exchange("POST /", ("Transfer-Encoding", "chunked"))
    assert limited("1KiB").request(seen) is None
    assert seen.body.limit == 1024


def test_it_may_raise_the_listeners_limit():
    seen = exchange("POST /", ("Content-Length", str(20 * 1024 * 1024)))
    assert limited({"max": "50MiB"}).request(seen) is None
    assert seen.body.limit == 50 * 1024 * 1024


def test_it_runs_before_the_request_is_transformed():
    assert kind.filter.phase is Phase.LIMIT


def test_explain_names_the_limit():
    assert limited("1KiB").explain(exchange()) == "bodies up to 1KiB"


def test_a_limit_must_be_given():
    with pytest.raises(ValidationError):
        limited({})
