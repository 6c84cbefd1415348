"""Filter cors, against the rules of https://fetch.spec.whatwg.org/#http-cors-protocol."""

import pytest
from pydantic import ValidationError

from suuupra_gateway.filters.base import Phase
from suuupra_gateway.filters.cors import kind
from suuupra_gateway.http.message import Reply, values
from tests.filters.running import answered, exchange, made

APP = "https://app.example.org"


def preflight(origin=APP, method="PUT", *fields):
    return exchange("OPTIONS /x", ("Origin", origin), ("Access-Control-Request-Method", method), *fields)


def from_browser(origin=APP):
    return exchange("GET /x", ("Origin", origin))


def test_a_preflight_of_an_allowed_origin_is_answered():
    cors = made(kind, origins=[APP], methods=["GET", "PUT"], headers=["X-Team"], max_age="5m")
    verdict = cors.request(preflight())
    assert verdict.status == 204
    assert dict(verdict.headers) == {
        b"access-control-allow-origin": APP.encode(),
        b"access-control-allow-methods": b"GET, PUT",
        b"access-control-allow-headers": b"X-Team",
        b"access-control-max-age": b"300",
        b"vary": b"origin, access-control-request-method, access-control-request-headers",
    }


def test_a_preflight_of_another_origin_is_refused_without_any_grant():
    verdict = made(kind, origins=[APP]).request(preflight("https://evil.example"))
    assert (verdict.status, verdict.code) == (403, "origin_not_allowed")
    assert [name for name, _ in verdict.headers] == [b"vary"]


def test_a_star_for_headers_grants_what_is_asked_for():
    cors = made(kind, origins=[APP], headers=["*"])
    verdict = cors.request(preflight(APP, "PUT", ("Access-Control-Request-Headers", "x-a, x-b")))
    assert dict(verdict.headers)[b"access-control-allow-headers"] == b"x-a, x-b"


@pytest.mark.parametrize("asked", ["x-a;q=1", "x a", ""])
def test_a_star_for_headers_does_not_echo_nonsense(asked):
    cors = made(kind, origins=[APP], headers=["*"])
    verdict = cors.request(preflight(APP, "PUT", ("Access-Control-Request-Headers", asked)))
    assert b"access-control-allow-headers" not in dict(verdict.headers)


def test_credentials_are_granted_only_when_configured():
    assert b"access-control-allow-credentials" not in dict(made(kind, origins=[APP]).request(preflight()).headers)
    verdict = made(kind, origins=[APP], credentials=True).request(preflight())
    assert dict(verdict.headers)[b"access-control-allow-credentials"] == b"true"


@pytest.mark.parametrize(
    "seen",
    [
        exchange("GET /x", ("Origin", APP), ("Access-Control-Request-Method", "PUT")),
        exchange("OPTIONS /x", ("Origin", APP)),
        exchange("OPTIONS /x", ("Access-Control-Request-Method", "PUT")),
    ],
    ids=["not OPTIONS", "no method asked for", "no origin"],
)
def test_what_is_no_preflight_goes_on(seen):
    assert made(kind, origins=[APP]).request(seen) is None


@pytest.mark.parametrize(
    ("origin", "verdict"),
    [
        ("https://a.example.org", True),
        ("https://A.Example.ORG", True),
        ("https://a.b.example.org", True),
        ("https://example.org", False),
        ("https://.example.org", False),
        ("https://a..example.org", False),
        ("http://a.example.org", False),
        ("https://a.example.org:444", False),
        ("https://evil.com/.example.org", False),
        ("https://evil.com?.example.org", False),
        ("https://aexample.org", False),
        ("https://a.example.org.evil.com", False),
        ("null", False),
    ],
)
def test_a_wildcard_takes_labels_below_the_domain_and_nothing_else(origin, verdict):
    head = answered()
    made(kind, origins=["https://*.example.org"]).response(from_browser(origin), head)
    assert (head.get(b"access-control-allow-origin") is not None) == verdict


def test_a_wildcard_may_name_a_port():
    head = answered()
    made(kind, origins=["http://*.test:8080"]).response(from_browser("http://a.test:8080"), head)
    assert head.get(b"access-control-allow-origin") == b"http://a.test:8080"


@pytest.mark.parametrize("origin", ["null", "http://[::1]:3000", "capacitor://localhost", "http://localhost:3000"])
def test_unusual_origins_can_be_named(origin):
    head = answered()
    made(kind, origins=[origin]).response(from_browser(origin), head)
    assert head.get(b"access-control-allow-origin") == origin.encode()


def test_answers_carry_the_policy_in_place_of_the_upstreams():
    head = answered(
        (b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"x"), (b"vary", b"accept-encoding")
    )
    assert made(kind, origins=[APP], expose=["X-Total", "ETag"]).response(from_browser(), head) is None
    assert head.headers == [
        (b"vary", b"accept-encoding"),
        (b"vary", b"origin"),
        (b"access-control-allow-origin", APP.encode()),
        (b"access-control-expose-headers", b"X-Total, ETag"),
    ]


def test_a_vary_on_something_like_origin_is_none_on_origin():
    head = answered((b"vary", b"X-Original-Host"))
    made(kind, origins=[APP]).response(from_browser(), head)
    assert (b"vary", b"origin") in head.headers


def test_a_vary_on_origin_is_not_doubled():
    head = answered((b"vary", b"Accept, Origin"))
    made(kind, origins=[APP]).response(from_browser(), head)
    assert values(head.headers, b"vary") == [b"Accept, Origin"]


def test_answers_to_other_origins_lose_the_upstreams_policy_and_get_none():
    head = answered((b"access-control-allow-origin", b"*"))
    made(kind, origins=[APP]).response(from_browser("https://evil.example"), head)
    assert head.headers == [(b"vary", b"origin")]


def test_answers_without_an_origin_vary_all_the_same():
    head = answered()
    made(kind, origins=[APP]).response(exchange(), head)
    assert head.headers == [(b"vary", b"origin")]


def test_any_origin_is_told_by_a_star_that_caches_may_share():
    head = answered()
    made(kind, origins=["*"]).response(from_browser("https://whoever.example"), head)
    assert head.headers == [(b"access-control-allow-origin", b"*")]


def test_the_gateways_own_answers_can_be_read_by_scripts_too():
    head = answered()
    made(kind, origins=[APP]).reply(from_browser(), head)
    assert head.get(b"access-control-allow-origin") == APP.encode()


def test_its_own_preflight_answer_is_left_as_it_is():
    cors = made(kind, origins=[APP])
    head = answered(*cors.request(preflight()).headers)
    before = list(head.headers)
    cors.reply(preflight(), head)
    assert head.headers == before


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"origins": []},
        {"origins": ["https://a.example/"]},
        {"origins": ["a.example"]},
        {"origins": ["https://*"]},
        {"origins": ["https://a.*.example"]},
        {"origins": ["*"], "credentials": True},
        {"origins": [APP, "null"], "credentials": True},
        {"origins": ["*"], "methods": ["get"]},
        {"origins": ["*"], "headers": ["a b"]},
        {"origins": ["*"], "expose": ["a\r\nb"]},
    ],
)
def test_policies_that_are_unsafe_or_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        made(kind, **settings)


def test_it_runs_before_authentication_and_takes_all_preflights_of_its_route():
    assert kind.filter.phase < Phase.AUTHENTICATE
    assert kind.filter.answers_preflight


def test_explain_tells_whether_the_origin_is_allowed():
    cors = made(kind, origins=[APP])
    assert cors.explain(exchange()) == "no Origin: not a cross-origin request"
    assert cors.explain(from_browser()) == f"origin {APP} is allowed"
    assert cors.explain(from_browser("null")) == "origin null is not allowed"


def test_the_refusal_is_a_problem():
    refused = made(kind, origins=[APP]).request(preflight("null"))
    assert isinstance(refused, Reply)
    assert b"origin_not_allowed" in refused.payload(b"1")[1]
