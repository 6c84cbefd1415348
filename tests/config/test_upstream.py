"""
``upstreams:``.
"""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from suuupra_gateway.config.upstream import BalanceSpec, EndpointSpec, UpstreamSpec


def upstream(**more: object) -> UpstreamSpec:
    """An upstream from what a file says."""
    return UpstreamSpec.model_validate({"endpoints": ["http://a"], **{k.replace("_", "-"): v for k, v in more.items()}})


def test_an_endpoint_may_be_its_address_alone() -> None:
    written = ["http://a", {"url": "https://b", "weight": 3}]
    assert upstream(endpoints=written).endpoints == (
        EndpointSpec(url="http://a:80"),
        EndpointSpec(url="https://b:443", weight=3),
    )


def test_a_balance_may_be_its_policy_alone() -> None:
    assert upstream(balance="random").balance == BalanceSpec(policy="random")
    assert upstream(balance={"policy": "hash", "key": "cookie:a"}).balance.key == "cookie:a"


def test_the_timeouts_are_those_of_the_semantics() -> None:
    timeouts = upstream().timeouts
    assert (timeouts.connect, timeouts.tls, timeouts.first_byte) == (1.0, 2.0, 10.0)
    assert (timeouts.idle, timeouts.total, timeouts.pool) == (30.0, 15.0, 1.0)


def test_only_the_total_may_be_without_end() -> None:
    assert upstream(timeouts={"total": 0}).timeouts.total == 0.0
    for key in ("connect", "tls", "first-byte", "idle", "pool"):
        with pytest.raises(ValidationError, match="above zero"):
            upstream(timeouts={key: "0s"})


def test_an_idempotency_key_is_a_header_or_none() -> None:
    assert upstream(retry={"idempotency-key": "Idempotency-Key"}).retry.idempotency_key == "Idempotency-Key"
    assert upstream(retry={"idempotency-key": ""}).retry.idempotency_key == ""


@pytest.mark.parametrize(
    "more",
    [
        {"endpoints": []},
        {"endpoints": ["a:80"]},
        {"endpoints": [{"url": "http://a", "weight": -1}]},
        {"balance": "fair"},
        {"balance": {"policy": "hash", "key": "user"}},
        {"retry": {"attempts": 0}},
        {"retry": {"statuses": [404]}},
        {"retry": {"idempotency-key": "a b"}},
        {"retry": {"budget": 0.2}},
        {"tls": {"verify": "off"}},
        {"pool": {"connections": 0}},
    ],
)
def test_an_upstream_is_nothing_else(more: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        upstream(**more)
