"""
From documents to checked configurations, or to everything that is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suuupra_gateway.config.decode import ConfigErrors, decode, decoding, gateway_model
from suuupra_gateway.config.model import GatewayConfig, Pairs, Shorthand, Spec
from suuupra_gateway.config.source import SOURCE, Document
from suuupra_gateway.config.units import Duration, Secret, Size
from tests.config.files import LISTENER, SOUND, decoded, read, refused, write


class LimitSpec(Spec):
    """How many, how often."""

    rate: Size
    """How many."""

    every: Duration = Duration(1.0)
    """How often."""

    key: Secret | None = None
    labels: Pairs = ()


class QuickSpec(Shorthand):
    """Takes a text too."""

    short_form = "A text."

    text: str = "default"

    @classmethod
    def unfold(cls, value: str) -> dict[str, str]:
        return {"text": value}


@attrs.frozen
class Kind:
    """As the catalogue of filters has them."""

    spec: type[Spec]


KINDS = {"limit": LimitSpec, "quick-one": QuickSpec}


def test_a_configuration_is_what_its_files_say_and_defaults(tmp_path: Path) -> None:
    config = decoded(tmp_path, SOUND)
    assert isinstance(config, GatewayConfig)
    assert config.gateway.workers == "auto"
    assert config.upstreams[0].name == "users"
    assert config.upstreams[0].endpoints[0].url == "http://10.0.0.5:9001"
    assert config.routes[0].target.kind == "proxy"
    assert hash(config) == hash(decoded(tmp_path, SOUND))


def test_filters_are_of_the_kinds_that_are_known(tmp_path: Path) -> None:
    filters = "filters: [{limit: {rate: 5}}, {quick-one: text}, {quick-one: }], target: "
    config = decoded(
        tmp_path, SOUND.replace("    target: ", f"    {filters}".replace(", target: ", "\n    target: ")), KINDS
    )
    entries = config.routes[0].filters
    assert [entry.kind for entry in entries] == ["limit", "quick-one", "quick-one"]
    assert [entry.spec for entry in entries] == [LimitSpec(rate=Size(5)), QuickSpec(text="text"), QuickSpec()]


def test_mistakes_in_filters_have_their_exact_places(tmp_path: Path) -> None:
    text = LISTENER + (
        "routes:\n"
        "  - name: r\n"
        "    auth: none\n"
        "    target: {fixed: {}}\n"
        "    filters:\n"
        "      - limt: {}\n"
        "      - limit: {rate: x, evry: 1s}\n"
        "      - {limit: {}, quick-one: {}}\n"
        "      - limit:\n"
        "          rate: 1\n"
        "          labels: {a: 1}\n"
    )
    assert refused(tmp_path, text, KINDS) == [
        "gateway.yaml:7:9: routes[0].filters[0].limt (r): unknown key, did you mean limit?",
        "gateway.yaml:8:23: routes[0].filters[1].limit.rate (r): expected a size such as 64KiB, 2MiB, 10MB or a whole number "
        "of bytes, not 'x'",
        "gateway.yaml:8:26: routes[0].filters[1].limit.evry (r): unknown key, did you mean every?",
        "gateway.yaml:9:17: routes[0].filters[2].limit (r): rate is missing",
        "gateway.yaml:12:23: routes[0].filters[3].limit.labels.a (r): expected a text, not 1, put it in quotes",
    ]


def test_the_model_of_the_same_kinds_is_the_same() -> None:
    assert gateway_model(KINDS) is gateway_model(dict(reversed(KINDS.items())))
    assert gateway_model({name: Kind(spec) for name, spec in KINDS.items()}) is gateway_model(KINDS)
    assert gateway_model({}) is not gateway_model(KINDS)
    assert issubclass(gateway_model(KINDS), GatewayConfig)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Of each kind something: form, keys, variables, secrets, and what is wrong between parts of which others are wrong."""
    write(
        tmp_path, "routes:\n  - {name: b, auth: non, match: {path: x}, target: {proxy: {upstream: usres}}}\n", "b.yaml"
    )
    text = (
        "include: b.yaml\n"
        "gatewy: {}\n"
        "gateway: {workers: lots, drain: '${DRAIN}'}\n"
        "listeners:\n"
        "  - {name: a, address: '0.0.0.0:9900', limits: {head: 1, haed: 1}}\n"
        "  - {name: a, adress: '0.0.0.0:80'}\n"
        "upstreams:\n"
        "  users: {endpoints: ['http://a', 'ftp://b'], timeouts: {total: 1s, idle: 5}}\n"
        "  users: {}\n"
        "  'bad name': {endpoints: [{url: 'http://a'}]}\n"
        "routes:\n"
        "  - {name: a, target: {fixed: {status: 99}}, filters: [{limit: {rate: 1, key: {file: none}}}]}\n"
    )
    found = refused(tmp_path, text, KINDS)
    assert [line.split(" ")[0] + " " + line.split(": ", 1)[1].split(":")[0] for line in found] == [
        "gateway.yaml:2:1: gatewy",
        "gateway.yaml:3:20: gateway.workers",
        "gateway.yaml:3:33: gateway.drain",
        "gateway.yaml:5:24: listeners[0].address (a)",
        "gateway.yaml:5:58: listeners[0].limits.haed (a)",
        "gateway.yaml:6:5: listeners[1] (a)",
        "gateway.yaml:6:15: listeners[1].adress (a)",
        "gateway.yaml:8:35: upstreams.users.endpoints[1]",
        "gateway.yaml:8:75: upstreams.users.timeouts.idle",
        "gateway.yaml:9:3: upstreams.users",
        "gateway.yaml:10:3: upstreams.bad name",
        "gateway.yaml:12:5: routes[0].auth (a)",
        "gateway.yaml:12:40: routes[0].target.fixed.status (a)",
        "gateway.yaml:12:79: routes[0].filters[0].limit.key (a)",
        "b.yaml:2:21: routes[1].auth (b)",
        "b.yaml:2:40: routes[1].match.path (b)",
        "b.yaml:2:71: routes[1].target.proxy.upstream (b)",
    ]


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("", ["listeners is missing"]),
        ("listeners: []\n", ["gateway.yaml:1:12: listeners: expected at least 1 entry"]),
        ("listeners: {}\n", ["gateway.yaml:1:12: listeners: expected a list, not a mapping"]),
        (
            "listeners: [{}]\n",
            ["gateway.yaml:1:13: listeners[0]: name is missing", "gateway.yaml:1:13: listeners[0]: address is missing"],
        ),
        (LISTENER + "routes: 7\n", ["gateway.yaml:2:9: routes: expected a list, not 7, put it in brackets"]),
        (LISTENER + "routes: [7]\n", ["gateway.yaml:2:10: routes[0]: expected a mapping (key: value), not 7"]),
        (LISTENER + "upstreams: []\n", ["gateway.yaml:2:12: upstreams: expected a mapping (key: value), not a list"]),
        (LISTENER + "gateway: 7\n", ["gateway.yaml:2:10: gateway: expected a mapping (key: value), not 7"]),
        (LISTENER + "plugins: a.py\n", ["gateway.yaml:2:10: plugins: expected a list, not 'a.py', put it in brackets"]),
        (LISTENER + "plugins: [7]\n", ["gateway.yaml:2:11: plugins[0]: expected a text, not 7, put it in quotes"]),
        (
            LISTENER + "upstreams: {a: {endpoints: ['http://a'], name: b}}\n",
            ["gateway.yaml:2:12: upstreams: expected a to have no name of its own: its key is its name"],
        ),
    ],
)  # fmt: skip
def test_sections_have_their_form(tmp_path: Path, text: str, errors: list[str]) -> None:
    assert refused(tmp_path, text) == errors


class DeepSpec(Spec):
    """Something that must be there, deep down."""

    inner: LimitSpec


def test_what_is_wrong_deep_down_is_told_once(tmp_path: Path) -> None:
    """Leaving out one thing after the other comes to an end, and what that leads to is not told."""
    text = LISTENER + "routes: [{name: r, target: {fixed: {}}, filters: [{deep: {inner: {rate: x}}}]}]\n"
    (error,) = refused(tmp_path, text, {"deep": DeepSpec})
    assert "routes[0].filters[0].deep.inner.rate (r): expected a size" in error


def test_keys_of_files_have_hyphens_only(tmp_path: Path) -> None:
    assert refused(tmp_path, LISTENER + "gateway: {run_dir: x}\n") == [
        "gateway.yaml:2:11: gateway.run_dir: unknown key, did you mean run-dir?"
    ]


def test_what_follows_from_a_mistake_is_not_told(tmp_path: Path) -> None:
    """A duration without unit does not make its neighbours longer than its default."""
    text = LISTENER + "upstreams: {users: {endpoints: ['http://a'], timeouts: {first-byte: 20s, total: 30}}}\n"
    (error,) = refused(tmp_path, text)
    assert "upstreams.users.timeouts.total: expected a duration" in error


def test_what_the_files_were_wrong_about_is_told_too(tmp_path: Path) -> None:
    (error,) = refused(tmp_path, SOUND + "gateway: {drain: '${DRAIN}'}\n")
    assert error.startswith("gateway.yaml:10:18: gateway.drain: the environment variable DRAIN is not set")


def test_a_variable_may_stand_for_any_scalar(tmp_path: Path) -> None:
    text = LISTENER + (
        "gateway: {workers: '${WORKERS}', drain: '${DRAIN:-5s}'}\n"
        "access-log: {query: '${QUERY}'}\n"
        "upstreams: {users: {endpoints: ['http://${HOST}:80'], timeouts: {total: '${TOTAL}'}, max-head: '${SIZE}'}}\n"
    )
    environ = {"WORKERS": "4", "QUERY": "true", "HOST": "users", "TOTAL": "0", "SIZE": "4096"}
    config = decoded(tmp_path, text, environ=environ)
    assert (config.gateway.workers, config.gateway.drain, config.access_log.query) == (4, 5.0, True)
    assert (config.upstreams[0].timeouts.total, config.upstreams[0].max_head) == (0.0, 4096)


def test_secrets_come_from_files_and_credentials(tmp_path: Path) -> None:
    write(tmp_path, "from file\n", "key")
    write(tmp_path, "from systemd", "credentials/key")
    written = ("{file: key}", "{credential: key}", "x")
    filters = f"filters: [{', '.join(f'{{limit: {{rate: 1, key: {key}}}}}' for key in written)}]"
    text = LISTENER + f"routes: [{{name: r, auth: none, target: {{fixed: {{}}}}, {filters}}}]\n"
    document = read(tmp_path, text, {"CREDENTIALS_DIRECTORY": f"{tmp_path}/credentials"})
    config = decode(document, KINDS)
    keys = [entry.spec.key.reveal() for entry in config.routes[0].filters]  # type: ignore[attr-defined]  # a LimitSpec
    assert keys == ["from file", "from systemd", "x"]
    worker = decode(Document.from_tree(json.loads(json.dumps(document.tree))), KINDS)
    assert worker == config


def test_why_a_secret_is_missing_is_told_and_nothing_of_others(tmp_path: Path) -> None:
    filters = "filters: [{limit: {rate: 1, key: {file: none}}}, {limit: {rate: 1, key: 12345}}]"
    text = LISTENER + f"routes: [{{name: r, auth: none, target: {{fixed: {{}}}}, {filters}}}]\n"
    found = refused(tmp_path, text, KINDS)
    assert [line.split(" (r): ")[1] for line in found] == [
        "cannot read none: No such file or directory",
        "expected {file: PATH}, {credential: NAME} or a text in quotes",
    ]


def test_decoding_goes_in_small_steps(tmp_path: Path) -> None:
    routes = "".join(f"  - {{name: r{number}, auth: none, target: {{fixed: {{}}}}}}\n" for number in range(100))
    document = read(tmp_path, f"{LISTENER}routes:\n{routes}")
    steps: list[None] = []

    def whole() -> Iterator[None]:
        config = yield from decoding(document, {})
        assert config == decode(document, {})

    steps.extend(whole())
    assert len(steps) > 200


def test_a_tree_is_not_changed_by_decoding(tmp_path: Path) -> None:
    document = read(tmp_path, SOUND)
    before = json.dumps(document.tree)
    decode(document, {})
    assert json.dumps(document.tree) == before
    assert SOURCE in document.tree


def test_a_worker_is_told_what_is_wrong_by_path() -> None:
    with pytest.raises(ConfigErrors) as caught:
        decode(Document.from_tree({"listeners": [{"name": "a", "address": "x"}]}), {})
    (error,) = caught.value.errors
    assert (str(error.where), error.path) == ("", "listeners[0].address (a)")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
SECTIONS = ["gateway", "admin", "access-log", "listeners", "upstreams", "routes", "plugins", "other"]
KEYS = st.sampled_from(
    [
        *("name", "address", "balance", "endpoints", "url", "weight", "timeouts", "total", "retry", "pause"),
        *("match", "path", "prefix", "host", "methods", "headers", "query", "auth", "filters", "limit", "rate"),
        *("target", "proxy", "fixed", "redirect", "upstream", "split", "tests", "request", "expect"),
    ]
)
LIKELY = st.recursive(
    JUNK, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(SECTIONS), JUNK | LIKELY, max_size=6))
def test_no_document_is_too_strange_to_be_told_what_is_wrong(tree: dict[str, object]) -> None:
    with pytest.raises(ConfigErrors) as caught:
        decode(Document.from_tree({**tree, "other": 1}), KINDS)
    assert "other: unknown key" in str(caught.value)
    assert all(str(error) for error in caught.value.errors)
