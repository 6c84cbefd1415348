"""
Whatever ``identity`` and ``auth`` say: it is a configuration, or it is told what is wrong with it; never a crash, never a secret.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from suuupra_gateway.config.decode import ConfigErrors, decode
from suuupra_gateway.config.model import GatewayConfig, Spec
from suuupra_gateway.config.source import Document
from suuupra_gateway.lint import warnings

KINDS: dict[str, type[Spec]] = {}
SECRETS = ["hush", "hush" * 8, "hush" * 16]

scraps = st.sampled_from(
    ["", "a", "corp", "crop", "X-User-Id", "X_Auth.a", "*", "é", "\x00", "a b", "//", "[::1", "{}", "no"]
)
urls = st.sampled_from(
    [
        "https://id.example.org",
        "http://id.example.org/x",
        "http://[::1]:80/cb",
        "http://localhost/cb?x",
        "https://[",
        "https://a:99999",
        "https://u@h",
        "ftp://a",
        "https://é",
        "joe",
    ]
)
secrets = st.sampled_from([*SECRETS, 7, None, {"file": "/no"}])
names = st.sampled_from(["corp", "crop", "web", "-"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | scraps | urls,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(scraps, inner, max_size=2),
    max_leaves=4,
)


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings with some of these keys, which now and then hold something else altogether."""
    fields = {name.replace("_", "-"): value | anything for name, value in keys.items()}
    return st.fixed_dictionaries({}, optional=fields)


def by_name(things: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(names, things, max_size=2)


headers = scraps | st.just("X-Key")
algorithms = st.lists(st.sampled_from(["HS256", "HS512", "RS256", "ES256", "none"]), max_size=3)
identity = some(
    providers=by_name(
        some(issuer=urls, audiences=st.lists(scraps), jwks=urls, keys=scraps, secret=secrets, algorithms=algorithms)
    ),
    api_keys=some(peppers=st.lists(secrets, max_size=2), file=scraps, header=headers),
    introspection=by_name(some(url=urls, client_id=scraps, client_secret=secrets)),
    forward_auth=by_name(some(url=urls, request_headers=st.lists(headers), response_headers=st.lists(headers))),
    logins=by_name(
        some(
            provider=names,
            client_id=scraps,
            client_secret=secrets,
            redirect_uri=urls,
            parameters=st.dictionaries(scraps | st.just("state"), scraps),
            after_logout=urls | scraps,
            return_to=st.lists(urls, max_size=2),
            logout_path=st.sampled_from(["/cb", "/x", ""]),
            session=some(keys=st.lists(secrets, max_size=2), store=st.sampled_from(["redis", "cookie", "auto"])),
        )
    ),
    client_certificates=some(header=headers, ca_file=scraps),
    headers=some(subject=headers, roles=headers, claims=st.dictionaries(headers, scraps, max_size=2)),
    assertion=some(issuer=scraps, keys=st.lists(scraps, max_size=2), header=headers),
)
credential = st.one_of(
    st.builds(lambda name: {"jwt": {"provider": name}}, names),
    st.builds(lambda text: {"api-key": {"query": text}}, scraps),
    st.builds(lambda name: {"session": {"login": name}}, names),
    st.builds(lambda name: {"introspection": {"by": name}}, names),
    st.builds(lambda name: {"forward-auth": {"by": name}}, names),
    st.just({"client-certificate": {}}),
    anything,
)
auth = (
    some(
        any=st.lists(credential, max_size=3),
        all=st.lists(credential, max_size=2),
        scopes=some(any=st.lists(scraps, max_size=2)),
        claims=st.dictionaries(scraps, some(equals=scraps, pattern=scraps | st.just("(?=x)"), exists=st.booleans())),
        assertion=scraps,
    )
    | st.just("none")
    | anything
)


@settings(max_examples=400, deadline=None)
@given(
    identity,
    st.lists(auth, min_size=1, max_size=3),
    some(store=st.just("redis://h"), identity_headers=st.lists(headers)),
)
def test_every_identity_is_configured_or_refused_with_a_reason(
    identity: dict[str, Any], auths: list[Any], gateway: dict[str, Any]
) -> None:
    routes = [{"name": f"r{n}", "auth": each, "target": {"fixed": {}}} for n, each in enumerate(auths)]
    listeners = [{"name": "a", "address": "127.0.0.1:0"}]
    tree = {"listeners": listeners, "gateway": gateway, "identity": identity, "routes": routes}
    try:
        config = decode(Document.from_tree(tree), KINDS)
    except ConfigErrors as errors:
        found = errors
    else:
        assert isinstance(config, GatewayConfig)
        assert all(route.auth is not None for route in config.routes)
        assert "hush" not in json.dumps([finding.why for finding in warnings(config)])
        return
    assert found.errors
    assert all(error.why and error.path for error in found.errors)
    assert "hush" not in str(found)
