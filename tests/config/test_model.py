"""
A whole configuration, and the names to import its parts by.
"""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from suuupra_gateway.config import model
from suuupra_gateway.config.model import GatewayConfig, ListenerSpec, Spec, UpstreamSpec


def test_a_configuration_needs_a_listener_and_nothing_else() -> None:
    config = GatewayConfig(listeners=(ListenerSpec(name="a", address="127.0.0.1:0"),))
    assert config.upstreams == config.routes == config.plugins == ()
    with pytest.raises(ValidationError):
        GatewayConfig(listeners=())


def test_upstreams_know_their_names() -> None:
    written = {"listeners": [{"name": "a", "address": "127.0.0.1:0"}], "upstreams": {"u": {"endpoints": ["http://a"]}}}
    (upstream,) = GatewayConfig.model_validate(written).upstreams
    assert upstream == UpstreamSpec.model_validate({"name": "u", "endpoints": ["http://a"]})


def test_every_spec_can_be_imported_from_here() -> None:
    def specs(kind: type[Spec]) -> set[type[Spec]]:
        return {kind}.union(*(specs(one) for one in kind.__subclasses__()))

    ours = {kind.__name__ for kind in specs(Spec) if kind.__module__.startswith("suuupra_gateway.config.")}
    made = {name for name in ours if not name.startswith("_")} - set(model.__all__)
    assert made == set()
    assert all(hasattr(model, name) for name in model.__all__)


def test_the_schema_of_files_has_what_the_model_has_not() -> None:
    properties = GatewayConfig.model_json_schema()["properties"]
    assert properties["include"]["anyOf"][1] == {"type": "array", "items": {"type": "string"}}
