"""
The effective configuration.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from suuupra_gateway.config.decode import decode, gateway_model
from suuupra_gateway.config.dump import dump, dump_yaml
from suuupra_gateway.config.fragment import Fragment
from suuupra_gateway.config.model import GatewayConfig
from suuupra_gateway.config.source import Document
from tests.config.files import LISTENER, SOUND, decoded, read
from tests.config.test_decode import KINDS

WITH_SECRET = LISTENER + (
    "upstreams: {users: {endpoints: [\"http://${HOST}:80\"], timeouts: {total: '${TOTAL}'}}}\n"
    "routes:\n"
    "  - name: r\n"
    "    auth: none\n"
    "    filters: [{limit: {rate: 1, key: hush, labels: {a: 'Bearer ${TOKEN}', b: '$${C}'}}}]\n"
    "    target: {fixed: {}}\n"
)
ENVIRON = {"HOST": "users", "TOTAL": "0", "TOKEN": "hush"}


def test_a_dump_has_every_default_in_the_keys_and_units_of_files(tmp_path: Path) -> None:
    plain = dump(decoded(tmp_path, SOUND))
    assert plain["upstreams"]["users"]["timeouts"]["first-byte"] == "10s"
    assert plain["listeners"][0]["limits"]["head"] == "32KiB"
    assert plain["routes"][0]["target"] == {
        "proxy": {"upstream": "users", "split": [], "sticky": "", "override-header": "", "host": "keep"}
    }
    assert "name" not in plain["upstreams"]["users"]


def test_secrets_are_masked_and_what_came_from_the_environment_is_shown_as_written(tmp_path: Path) -> None:
    document = read(tmp_path, WITH_SECRET, ENVIRON)
    config = decode(document, KINDS)
    (entry,) = dump(config, document)["routes"][0]["filters"]
    assert entry["limit"]["key"] == "***"
    assert entry["limit"]["labels"] == {"a": "Bearer ${TOKEN}", "b": "$${C}"}
    assert dump(config, document)["upstreams"]["users"]["endpoints"][0]["url"] == "http://users:80"
    assert dump(config)["routes"][0]["filters"][0]["limit"]["labels"] == {"a": "Bearer hush", "b": "${C}"}
    assert "hush" not in dump_yaml(config, document)


def test_a_dump_can_be_loaded_again_but_for_its_secrets(tmp_path: Path) -> None:
    document = read(tmp_path, WITH_SECRET.replace("key: hush, ", ""), ENVIRON)
    config = decode(document, KINDS)
    for text in (dump_yaml(config), dump_yaml(config, document)):
        assert decoded(tmp_path, text, KINDS, ENVIRON) == config


def test_short_lists_stand_in_one_line_and_nothing_is_an_anchor(tmp_path: Path) -> None:
    text = dump_yaml(decoded(tmp_path, SOUND))
    assert "  statuses: [502, 503, 504]\n" in text.replace("      statuses", "  statuses")
    assert "&id" not in text


TEXTS = st.sampled_from(
    [
        *("no", "1e5", "012", "0x1f", "1:30", ".5", "1.", "+1", "~", "null", "<<", "=", "2026-01-01", "-"),
        *("${A}", "$${A}", "***", "a: b", "\x85", "a\u2028b", "\ufeff"),
    ]
)


@settings(deadline=None)
@given(st.dictionaries(TEXTS | st.text(max_size=5), TEXTS | st.text(max_size=20), max_size=5))
def test_texts_survive_a_dump_whatever_they_look_like(query: dict[str, str]) -> None:
    tree = {
        "listeners": [{"name": "a", "address": "127.0.0.1:0"}],
        "routes": [{"name": "r", "auth": "none", "match": {"query": query}, "target": {"fixed": {}}}],
    }
    config: GatewayConfig = decode(Document.from_tree(tree), {})
    found = Fragment(dump_yaml(config).encode("utf-8", "surrogatepass"), "dump", {})
    assert found.errors == []
    assert found.tree["routes"][0]["match"]["query"] == query
    assert decode(Document.from_tree(found.tree), {}) == config


def test_other_readers_of_yaml_see_the_same(tmp_path: Path) -> None:
    config = decoded(tmp_path, SOUND)
    assert yaml.safe_load(dump_yaml(config)) == dump(config)
    assert gateway_model({}).model_validate(dump(config)) == config
