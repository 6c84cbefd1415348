"""
``listeners:``.
"""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from suuupra_gateway.config.listener import ListenerSpec
from suuupra_gateway.config.units import Duration, Size


def listener(**more: object) -> ListenerSpec:
    """A listener from what a file says."""
    written = {key.replace("_", "-"): value for key, value in more.items()}
    return ListenerSpec.model_validate({"name": "public", "address": "127.0.0.1:0", **written})


def test_the_defaults_are_those_of_the_semantics() -> None:
    limits, timeouts = listener().limits, listener().timeouts
    assert (limits.request_line, limits.head, limits.headers, limits.body) == (8192, 32768, 100, 10 * 2**20)
    assert (limits.requests, timeouts.head, timeouts.idle) == (1000, Duration(10.0), Duration(75.0))


def test_the_body_rate_may_be_turned_off_but_no_other_timeout() -> None:
    assert listener(timeouts={"min-body-rate": 0}).timeouts.min_body_rate == Size(0)
    for key in ("head", "idle", "body", "write"):
        with pytest.raises(ValidationError, match="above zero"):
            listener(timeouts={key: 0})


@pytest.mark.parametrize(
    "more",
    [
        {"address": "8080"},
        {"name": ""},
        {"backlog": 0},
        {"underscores": "allow"},
        {"merge_slashes": "no"},
        {"limits": {"headers": 0}},
        {"limits": {"pipeline": 1001}},
    ],
)
def test_a_listener_is_nothing_else(more: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        listener(**more)
