"""
The schema for editors and the reference page.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import attrs
from pydantic import Field

from suuupra_gateway.config.model import Spec
from suuupra_gateway.config.reference import MODELINE, reference, schema
from suuupra_gateway.config.units import Percent, Secret
from suuupra_gateway.filters.catalog import kinds
from tests.config.files import write
from tests.config.test_decode import KINDS

ROOT = Path(__file__).parent.parent.parent


class OddSpec(Spec):
    """Everything that no spec of ours has."""

    share: Percent = Percent(0.5)
    """A `share` and ``more``."""

    key: Secret
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    above: float = 2.0
    table: dict[str, int] = {}
    flag: bool | None = None
    anything: Any = None


class Odd:
    """What such a filter does."""

    on_error = "The request is refused."


@attrs.frozen
class Kind:
    """As the catalogue of filters has them."""

    spec: type[Spec]
    filter: type[Odd] = Odd


def shipped() -> dict[str, Any]:
    """The kinds of filters that come with the gateway."""
    return {name: kind for name, kind in kinds().items() if kind.spec.__module__.startswith("suuupra_gateway.filters.")}


def test_the_page_is_as_the_models_say() -> None:
    assert (ROOT / "docs/configuration.rst").read_text(encoding="utf-8") == reference(shipped()), "run `make reference`"


BY_NAME = [
    ("name", f"{thing}Spec")
    for thing in ("AdminToken", "Claim", "ForwardAuth", "Introspection", "Login", "Provider", "Upstream")
]
"""What is held in mappings: the key is the name."""


def heading(name: str) -> str:
    """The heading of a definition, with its line."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*", name.removesuffix("Spec"))
    text = " ".join([words[0], *(word if word.isupper() else word.lower() for word in words[1:])])
    return f"{text}\n{'~' * len(text)}"


def test_what_has_a_name_by_its_key_has_none_inside() -> None:
    page = reference(KINDS)
    for _, name in BY_NAME:
        section = page.partition(f"\n{heading(name)}\n")[2].partition("~~~")[0]
        assert section
        assert "\n``name``: " not in section
    assert "\n``name``: name; required" in page.partition(f"\n{heading('ListenerSpec')}\n")[2].partition("~~~")[0]


def test_every_key_of_every_spec_is_on_the_page() -> None:
    page = reference(KINDS)
    definitions = schema(KINDS)["$defs"]
    for name, definition in definitions.items():
        for one in definition.get("anyOf", [definition]):
            for key in one.get("properties", {}):
                assert f"\n``{key}``: " in page.partition(f"\n{heading(name)}\n")[2] or (key, name) in BY_NAME
    for key in ("gateway", "admin", "access-log", "listeners", "upstreams", "routes", "plugins"):
        assert f"\n``{key}:``\n" in page


def test_every_key_of_ours_says_what_it_is_for() -> None:
    lines = reference(shipped()).split("\n")
    start = lines.index("``gateway:``")
    silent = [
        line
        for line, following in pairwise(lines[start:])
        if line.startswith("``") and "``: " in line and not following.startswith("    ")
    ]
    assert silent == []


def test_the_page_tells_types_ranges_and_defaults() -> None:
    page = reference(KINDS)
    for line in (
        "``workers``: ``auto`` or whole number from 0 to 256; default ``auto``",
        "``restart-backoff``: list of 2, each duration; default ``[100ms, 10s]``",
        "``head``: size; default ``32KiB``",
        "``endpoints``: list of `Endpoint`_; required",
        "``forwarded``: ``x-forwarded``, ``rfc7239`` or ``both``; default ``x-forwarded``",
        "``requests``: whole number, at least 1; default ``1000``",
        "``status``: ``301``, ``302``, ``303``, ``307`` or ``308``; default ``308``",
        "May be written as a plain text: the policy alone.",
        "Mapping of names to `Upstream`_. Optional.",
        "List of `Listener`_. Required.",
    ):
        assert line in page


def test_the_page_speaks_of_any_filter_and_of_its_failures() -> None:
    page = reference({"odd": Kind(OddSpec)})
    for text in (
        "``odd``: `Odd`_\n    Everything that no spec of ours has.\n    When it fails: the request is refused.\n",
        "``share``: percentage; default ``50%``\n    A ``share`` and ``more``.\n",
        "``key``: secret; required\n",
        "``ratio``: number from 0 to 1; default ``0.5``",
        "``above``: number; default ``2.0``",
        "``table``: mapping of names to whole number\n",
        "``flag``: ``true`` or ``false``\n",
        "``anything``: text\n",
    ):
        assert text in page


def test_the_schema_is_for_files() -> None:
    whole = schema(KINDS)
    assert whole["$schema"].startswith("https://json-schema.org/")
    assert MODELINE in whole["description"]
    assert whole["additionalProperties"] is False
    assert set(whole["patternProperties"]) == {"^x-"}
    assert {"include", "listeners", "access-log"} <= set(whole["properties"])
    assert set(whole["$defs"]["FilterEntry"]["properties"]) == {"limit", "quick-one"}
    assert whole["$defs"]["FilterEntry"]["properties"]["limit"]["description"] == "How many, how often."
    assert whole["$defs"]["MatchSpec"]["properties"]["headers"]["default"] == {}
    assert whole["$defs"]["RetrySpec"]["properties"]["pause"]["default"] == ["25ms", "250ms"]
    json.dumps(whole)


def test_the_smallest_configuration_explains_every_line(tmp_path: Path) -> None:
    from suuupra_gateway.config.decode import decode
    from suuupra_gateway.config.source import load

    text = (ROOT / "etc/gateway.yaml").read_text(encoding="utf-8")
    assert text.startswith(MODELINE)
    config = decode(load(write(tmp_path, text), environ={}), shipped())
    assert [route.name for route in config.routes] == ["users"]
    lines = [line for line in text.split("\n") if line.strip()]
    unexplained = [line for before, line in pairwise(lines) if "#" not in before and "#" not in line]
    assert unexplained == []
