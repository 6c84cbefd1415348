"""
``gateway:``, ``admin:`` and ``access-log:``.
"""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from suuupra_gateway.config.process import AccessLogSpec, AdminSpec, ProcessSpec


def test_everything_about_the_process_has_a_default() -> None:
    assert ProcessSpec().drain == 30.0
    assert AdminSpec().address == "127.0.0.1:9900"
    assert AccessLogSpec().query is False


@pytest.mark.parametrize("workers", ["auto", 0, 1, 256])
def test_workers_are_counted_or_left_to_the_machine(workers: object) -> None:
    assert ProcessSpec.model_validate({"workers": workers}).workers == workers


@pytest.mark.parametrize(
    "written",
    [
        {"workers": -1},
        {"workers": 257},
        {"name": "two words"},
        {"restart-backoff": ["1s"]},
        {"trusted-proxies": ["10.0.0.1/8"]},
        {"forwarded": "all"},
        {"identity-headers": ["X-€"]},
        {"identity-headers": ["X-*-Id"]},
        {"identity-headers": ["*"]},
    ],
)
def test_a_process_is_nothing_else(written: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ProcessSpec.model_validate(written)


def test_the_admin_listener_can_be_turned_off_but_not_misspelt() -> None:
    assert AdminSpec.model_validate({"address": "off"}).address == "off"
    with pytest.raises(ValidationError):
        AdminSpec.model_validate({"address": "9900"})


def test_logging_queries_is_asked_for_in_no_uncertain_terms() -> None:
    with pytest.raises(ValidationError):
        AccessLogSpec.model_validate({"query": "yes"})
