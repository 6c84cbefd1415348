"""
``target:``.
"""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from suuupra_gateway.config.target import FixedSpec, MountSpec, ProxySpec, RedirectSpec, TargetSpec


def test_a_target_is_exactly_one_thing() -> None:
    assert TargetSpec.model_validate({"fixed": {}}).spec == FixedSpec()
    assert TargetSpec.model_validate({"redirect": {"to": "/x"}}).spec == RedirectSpec(to="/x")
    assert TargetSpec.model_validate({"mount": {"resource": "a.b:c"}}).spec == MountSpec(resource="a.b:c")
    for written in ({}, {"fixed": {}, "redirect": {"to": "/"}}):
        with pytest.raises(ValidationError, match="expected exactly one of proxy, fixed, redirect, mount"):
            TargetSpec.model_validate(written)


def test_a_proxy_has_an_upstream_or_a_split() -> None:
    assert ProxySpec.model_validate({"upstream": "a"}).upstream == "a"
    assert [one.weight for one in ProxySpec.model_validate({"split": [{"upstream": "a", "weight": 1}]}).split] == [1]
    for written in ({}, {"upstream": "a", "split": [{"upstream": "a", "weight": 1}]}):
        with pytest.raises(ValidationError, match="expected either upstream or split"):
            ProxySpec.model_validate(written)


def test_a_split_sends_requests_somewhere() -> None:
    with pytest.raises(ValidationError, match="expected at least one branch of split with a weight above 0"):
        ProxySpec.model_validate({"split": [{"upstream": "a", "weight": 0}]})


@pytest.mark.parametrize(
    "written",
    [
        {"fixed": {"status": 100}},
        {"fixed": {"content-type": "a\r\nb: c"}},
        {"fixed": {"headers": {"a": "b\nc"}}},
        {"redirect": {"to": ""}},
        {"redirect": {"to": "/\r\nSet-Cookie: a"}},
        {"redirect": {"to": "/", "status": 300}},
        {"mount": {"resource": "a.b"}},
        {"proxy": {"upstream": "a", "sticky": "path"}},
        {"proxy": {"upstream": "a", "override-header": "a b"}},
        {"proxy": {"upstream": "a", "host": "other"}},
    ],
)
def test_a_target_is_nothing_else(written: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TargetSpec.model_validate(written)
