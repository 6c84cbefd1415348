"""
What must hold between the parts of a configuration.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.files import LISTENER, SOUND, decoded, refused, write

UPSTREAM = f'{LISTENER}upstreams:\n  users: {{endpoints: ["http://a:1"]'


def route(target: str, more: str = "") -> str:
    """A configuration with one route."""
    return f"{UPSTREAM}}}\nroutes:\n  - {{name: r, auth: none, {more}target: {target}}}\n"


def test_a_sound_configuration_passes(tmp_path: Path) -> None:
    assert decoded(tmp_path, SOUND).routes[0].name == "users"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "listeners:\n  - {name: a, address: '127.0.0.1:80'}\n  - {name: a, address: '127.0.0.1:81'}\n",
            "gateway.yaml:3:12: listeners[1].name (a): another listener is called a, see gateway.yaml:2:6",
        ),
        (
            "listeners:\n  - {name: a, address: '127.0.0.1:80'}\n  - {name: b, address: '0.0.0.0:80'}\n",
            "gateway.yaml:3:24: listeners[1].address (b): listener a has this address already, give each its own, "
            "see gateway.yaml:2:15",
        ),
        (
            "listeners:\n  - {name: a, address: '127.0.0.1:9900'}\n",
            "gateway.yaml:2:24: listeners[0].address (a): the admin listener has this address already, give each its own",
        ),
        (
            "admin: {address: '127.0.0.1:80'}\nlisteners:\n  - {name: a, address: '127.0.0.1:80'}\n",
            "gateway.yaml:3:24: listeners[0].address (a): the admin listener has this address already, give each its own, "
            "see gateway.yaml:1:9",
        ),
        (
            "listeners:\n  - {name: a, address: '127.0.0.1:80', proxy-protocol: true}\n",
            "gateway.yaml:2:56: listeners[0].proxy-protocol (a): nobody may send a PROXY protocol header, so every connection "
            "would be refused, name the senders in gateway.trusted-proxies",
        ),
        (
            LISTENER + "gateway: {restart-backoff: [2s, 1s]}\n",
            "gateway.yaml:2:28: gateway.restart-backoff: the first pause (2s) is longer than the longest (1s)",
        ),
    ],
)
def test_the_process_and_its_listeners_fit_together(tmp_path: Path, text: str, error: str) -> None:
    assert refused(tmp_path, text)[0].startswith(error)


def test_what_is_no_section_at_all_is_not_checked(tmp_path: Path) -> None:
    assert len(refused(tmp_path, LISTENER + "gateway: 7\nadmin: 7\naccess-log: 7\nupstreams: 7\nroutes: 7\n")) == 5


@pytest.mark.parametrize(
    "text",
    [
        "admin: {address: off}\nlisteners: [{name: a, address: '127.0.0.1:9900'}]\n",
        "gateway: {trusted-proxies: [10.0.0.0/8]}\nlisteners: [{name: a, address: '127.0.0.1:80', proxy-protocol: true}]\n",
    ],
)
def test_listeners_that_fit(tmp_path: Path, text: str) -> None:
    assert decoded(tmp_path, text).listeners


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        (
            "timeouts: {connect: 20s}",
            "gateway.yaml:3:58: upstreams.users.timeouts.connect: connect (20s) must be shorter than first-byte (10s by default)",
        ),
        (
            "timeouts: {first-byte: 20s}",
            "gateway.yaml:3:61: upstreams.users.timeouts.first-byte: first-byte (20s) must be shorter than total "
            "(15s by default), total: 0 is for streams without an end",
        ),
        (
            "timeouts: {total: 3s, connect: 4s}",
            "gateway.yaml:3:56: upstreams.users.timeouts.total: connect (4s) must be shorter than total (3s), "
            "total: 0 is for streams without an end",
        ),
        (
            "retry: {pause: [2s, 1s]}",
            "gateway.yaml:3:53: upstreams.users.retry.pause: the first pause (2s) is longer than the longest (1s)",
        ),
        (
            "balance: {policy: random, key: path}",
            "gateway.yaml:3:64: upstreams.users.balance.key: random takes no key, only hash does",
        ),
        (
            "tls: {key: /dev/null}",
            "gateway.yaml:3:44: upstreams.users.tls.key: there is no certificate for this key, add certificate",
        ),
    ],
)
def test_an_upstream_is_consistent(tmp_path: Path, keys: str, error: str) -> None:
    assert error in refused(tmp_path, f"{UPSTREAM}, {keys}}}\n")


@pytest.mark.parametrize(
    "keys",
    [
        "timeouts: {total: 0}",
        "timeouts: {total: 1s}",
        "timeouts: {total: 20s, first-byte: 19s}",
        "balance: {policy: hash, key: path}",
    ],
)
def test_upstreams_that_are_consistent(tmp_path: Path, keys: str) -> None:
    assert decoded(tmp_path, f"{UPSTREAM}, {keys}}}\n").upstreams


def test_an_upstream_has_an_endpoint_with_weight_and_none_twice(tmp_path: Path) -> None:
    text = (
        LISTENER
        + "upstreams: {a: {endpoints: [{url: 'http://a', weight: 0}]}, b: {endpoints: ['http://b', 'http://b:80']}}\n"
    )
    assert refused(tmp_path, text) == [
        "gateway.yaml:2:28: upstreams.a.endpoints: every endpoint has weight 0, give one of them a weight above 0",
        "gateway.yaml:2:89: upstreams.b.endpoints[1]: http://b:80 is an endpoint twice, use weight for a bigger share, "
        "see gateway.yaml:2:77",
    ]


def test_files_that_are_named_can_be_read(tmp_path: Path) -> None:
    text = f"{UPSTREAM}, tls: {{ca-file: ca.pem, certificate: '.', key: k}}}}\n"
    text += "plugins: [none.py]\naccess-log: {path: /no/such/log}\n"
    assert refused(tmp_path, text) == [
        "gateway.yaml:3:53: upstreams.users.tls.ca-file: there is no file ca.pem",
        "gateway.yaml:3:74: upstreams.users.tls.certificate: there is no file .",
        "gateway.yaml:3:84: upstreams.users.tls.key: there is no file k",
        "gateway.yaml:4:11: plugins[0]: there is no file none.py",
        "gateway.yaml:5:20: access-log.path: there is no directory /no/such",
    ]


def test_files_beside_the_configuration_are_found(tmp_path: Path) -> None:
    write(tmp_path, "", "ca.pem")
    config = decoded(tmp_path, f"{UPSTREAM}, tls: {{ca-file: ca.pem}}}}\naccess-log: {{path: '{tmp_path}/log'}}\n")
    assert config.upstreams[0].tls.ca_file == f"{tmp_path}/ca.pem"


@pytest.mark.parametrize(
    ("target", "errors"),
    [
        (
            "{proxy: {upstream: usres}}",
            ["target.proxy.upstream (r): there is no upstream usres, did you mean users?"],
        ),
        (
            "{proxy: {upstream: xyz}}",
            ["target.proxy.upstream (r): there is no upstream xyz, upstreams: users"],
        ),
        (
            "{proxy: {split: [{upstream: users, weight: 1}, {upstream: users, weight: 1}, {upstream: user, weight: 1}]}}",
            [
                "target.proxy.split[1].upstream (r): users is a branch twice, add up the weights, see gateway.yaml:5:53",
                "target.proxy.split[2].upstream (r): there is no upstream user, did you mean users?",
            ],
        ),
        (
            "{proxy: {upstream: users, sticky: client, override-header: X-B}}",
            [
                "target.proxy.sticky (r): sticky is for split only",
                "target.proxy.override-header (r): override-header is for split only",
            ],
        ),
        (
            "{proxy: {upstream: users, timeouts: {connect: 1s, first-byte: 1ms}, retry: {pause: [2s, 1s]}}}",
            [
                "target.proxy.timeouts.first-byte (r): connect (1s) must be shorter than first-byte (1ms)",
                "target.proxy.retry.pause (r): the first pause (2s) is longer than the longest (1s)",
            ],
        ),
        ("{fixed: {status: 204, body: x}}", ["target.fixed.body (r): an answer with status 204 has no body (RFC 9110)"]),
    ],
)  # fmt: skip
def test_a_target_is_consistent(tmp_path: Path, target: str, errors: list[str]) -> None:
    found = refused(tmp_path, route(target))
    assert [line.split("routes[0].")[1] for line in found] == errors


@pytest.mark.parametrize(
    "target",
    [
        "{proxy: {upstream: users, timeouts: {total: 0}, retry: {attempts: 1}}}",
        "{proxy: {split: [{upstream: users, weight: 1}], sticky: client, override-header: X-B}}",
        "{fixed: {status: 204}}",
        "{fixed: }",
        "{redirect: {to: /x}}",
    ],
)
def test_targets_that_are_consistent(tmp_path: Path, target: str) -> None:
    assert decoded(tmp_path, route(target)).routes


def test_route_names_are_unique_and_upstreams_known_over_all_files(tmp_path: Path) -> None:
    one = "routes: [{name: r, auth: none, target: {proxy: {upstream: orders}}}]\n"
    write(tmp_path, f"{one}upstreams: {{orders: {{endpoints: ['http://o']}}}}\n", "conf.d/a.yaml")
    assert refused(tmp_path, f"include: conf.d/*.yaml\n{route('{fixed: {}}')}") == [
        "conf.d/a.yaml:1:17: routes[1].name (r): another route is called r, see gateway.yaml:6:6"
    ]


def test_a_match_has_one_kind_of_path(tmp_path: Path) -> None:
    assert refused(tmp_path, route("{fixed: {}}", "match: {regex: x, path: /a, prefix: /b}, ")) == [
        "gateway.yaml:5:35: routes[0].match.regex (r): path is given already, a route with both is two routes",
        "gateway.yaml:5:55: routes[0].match.prefix (r): path is given already, a route with both is two routes",
    ]


def test_tests_speak_of_routes_and_upstreams_that_exist(tmp_path: Path) -> None:
    tests = (
        "tests: [{request: /a, expect: {route: none}}, {request: /b, expect: {route: r, upstream: users}}, "
        "{request: /c, expect: {route: rr, upstream: usrs}}], "
    )
    assert [line.split(": ", 1)[1] for line in refused(tmp_path, route("{fixed: {}}", tests))] == [
        "routes[0].tests[2].expect.route (r): there is no route rr, did you mean r?",
        "routes[0].tests[2].expect.upstream (r): there is no upstream usrs, did you mean users?",
    ]


def test_tests_speak_of_callers_whom_somebody_knows(tmp_path: Path) -> None:
    identity = "identity: {providers: {corp: {issuer: 'https://id'}}, realm: crop}\n"
    tests = (
        "tests: [{request: {url: /, principal: {provider: corp}}, expect: {}}, "
        "{request: {url: /, principal: {provider: crop}}, expect: {}}, {request: {url: /, principal: joe}, expect: {}}], "
    )
    assert [line.split(": ", 1)[1] for line in refused(tmp_path, identity + route("{fixed: {}}", tests))] == [
        "routes[0].tests[1].request.principal.provider (r): there is no provider crop, did you mean corp?"
    ]
