"""Each filter and each target once, from the configuration file to the bytes."""

import json
from pathlib import Path

import pytest

from tests.live.harness import gateway
from tests.live.wire import Watch, Wire
from tests.servers.raw_origin import RawOrigin

MAINTENANCE = Path(__file__).parents[2] / "etc/filters/maintenance.py"

STAMP = '''
"""Stamp requests after a wait, and shout answers."""

from twisted.internet import reactor
from twisted.internet.task import deferLater

from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec


class StampSpec(FilterSpec):
    """What to write."""

    text: str
    """The stamp."""


class Upper:
    def feed(self, data):
        return data.upper()

    def finish(self):
        return b"!"


class Stamp(Filter[StampSpec]):
    """Wait, stamp, shout."""

    on_error = "The request fails with 500."

    def request(self, exchange):
        if exchange.head.get(b"x-break"):
            raise RuntimeError("a bug of the user's own")
        return deferLater(reactor, 0.05, self.stamp, exchange)

    def stamp(self, exchange):
        exchange.head.headers.append((b"x-stamp", self.spec.text.encode()))

    def transform(self, exchange, head):
        return Upper() if exchange.head.get(b"x-shout") else None


kind = FilterKind("stamp", StampSpec, Stamp)
'''

TREE = """
from twisted.web.resource import Resource


class Tree(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.setHeader(b"x-prepath", b"/".join(request.prepath))
        return b"mounted " + b"/".join(request.postpath) + b" " + request.args.get(b"q", [b""])[0]

    def render_POST(self, request):
        return b"%d bytes" % len(request.content.read())
"""


@pytest.fixture(scope="module")
def origin():
    with RawOrigin() as made:
        yield made


@pytest.fixture(scope="module")
def canary():
    with RawOrigin() as made:
        yield made


@pytest.fixture(scope="module")
def gw(tmp_path_factory, origin, canary):
    directory = tmp_path_factory.mktemp("filters")
    (directory / "stamp.py").write_text(STAMP)
    (directory / "tree.py").write_text(TREE)
    with gateway(directory) as made:
        made.write(f"""
gateway: {{workers: 2, trusted-proxies: [127.0.0.2/32]}}
admin: {{address: 127.0.0.1:0}}
access-log: {{path: {directory}/access.log}}
plugins: [stamp.py, {MAINTENANCE}]
listeners: [{{name: public, address: 127.0.0.1:0}}]
upstreams:
  origin: {{endpoints: ["{origin.url}"]}}
  canary: {{endpoints: ["{canary.url}"]}}
x-to-origin: &to-origin {{proxy: {{upstream: origin}}}}
routes:
  - name: headers
    match: {{prefix: /headers}}
    auth: none
    filters:
      - headers:
          request: {{set: {{X-Set: ours}}, add: {{X-Add: "2"}}, remove: [X-Remove], rename: {{X-Old: X-New}}}}
          response: {{set: {{Server: ours}}, remove: [X-Powered-By], add: {{Set-Cookie: a=b}}}}
    target: *to-origin
  - name: users
    match: {{path: "/users/{{id}}/{{rest*}}"}}
    auth: none
    filters:
      - rewrite: {{path: "/v2/{{rest}}", query: {{set: {{user: "{{id}}"}}, remove: [secret]}}}}
    target: *to-origin
  - name: stripped
    match: {{prefix: /shop}}
    auth: none
    filters:
      - rewrite: {{strip-prefix: /shop, regex: {{pattern: "^/(\\\\d+)$", replace: '/items/\\1'}}, add-prefix: /api}}
    target: *to-origin
  - name: limited
    match: {{prefix: /limited}}
    auth: none
    filters: [{{body-limit: 10B}}]
    target: *to-origin
  - name: cors
    match: {{prefix: /cors, methods: [GET, PUT]}}
    auth: none
    filters:
      - cors: {{origins: ["https://*.example"], methods: [GET, PUT], headers: [X-A], credentials: true, max-age: 10m}}
    target: *to-origin
  - name: guarded
    match: {{prefix: /guarded}}
    auth: none
    filters: [{{access: {{allow: [127.0.0.0/8], deny: [127.0.0.66/32, 9.9.9.0/24]}}}}]
    target: *to-origin
  - name: stamped
    match: {{prefix: /stamped}}
    auth: none
    filters: [{{stamp: {{text: hello}}}}]
    target: *to-origin
  - name: worked-on
    match: {{prefix: /worked-on}}
    auth: none
    filters: [{{maintenance: {{retry-after: 10m}}}}]
    target: *to-origin
  - {{name: fixed, match: {{path: /fixed}}, auth: none, target: {{fixed: {{status: 418, body: short, headers: {{X-Pot: tea}}}}}}}}
  - {{name: moved, match: {{path: "/moved/{{rest*}}"}}, auth: none, target: {{redirect: {{to: "https://new.example/{{rest}}?{{query}}"}}}}}}
  - {{name: mounted, match: {{prefix: /mounted}}, auth: none, target: {{mount: {{resource: "tree:Tree"}}}}}}
  - name: split
    match: {{prefix: /split}}
    auth: none
    target:
      proxy:
        split: [{{upstream: origin, weight: 80}}, {{upstream: canary, weight: 20}}]
        sticky: cookie:session
        override-header: X-Branch
  - name: upstream-host
    match: {{prefix: /upstream-host}}
    auth: none
    target: {{proxy: {{upstream: origin, host: upstream}}}}
""")
        made.start(environ={"PYTHONPATH": str(directory)})
        yield made


@pytest.fixture(scope="module")
def watch(gw):
    return Watch(gw, gw.directory / "access.log")


def ask(gw, target, *fields, method="GET", source="", host="a.example"):
    with Wire(gw.address(), source=source) as client:
        client.head(method, target, *fields, host=host)
        return client.answer(method)


def fields(answer):
    """What the echoing origin saw, names in lower case."""
    return {name.lower(): value for name, value in answer.json["headers"]}


def test_headers_are_edited_both_ways(gw, origin):
    path = origin.at(
        lambda talk, request: talk.answer(b"ok", b"Server: theirs", b"X-Powered-By: theirs"), "/headers/down"
    )
    answer = ask(gw, path)
    assert (answer.all("server"), answer.get("x-powered-by"), answer.get("set-cookie")) == (["ours"], None, "a=b")
    up = ask(gw, "/headers/up", "X-Set: theirs", "X-Set: twice", "X-Add: 1", "X-Remove: 1", "X-Old: 1")
    (request,) = origin.requests["/headers/up"]
    assert [request.all(name) for name in ("x-set", "x-add", "x-remove", "x-old", "x-new")] == [
        ["ours"],
        ["1", "2"],
        [],
        [],
        ["1"],
    ]
    assert up.status == 200


def test_headers_are_edited_on_the_gateways_own_answers(gw, origin):
    answer = ask(gw, origin.at(lambda talk, request: talk.reset(), "/headers/broken"))
    assert (answer.status, answer.code, answer.all("server")) == (502, "upstream_closed", ["ours"])


def test_paths_and_queries_are_rewritten(gw, watch):
    answer = ask(gw, "/users/7/a/b?x=1&secret=s&user=8&y=%2F")
    assert answer.json["target"] == "/v2/a/b?x=1&y=%2F&user=7"
    assert watch.line("/users/7/a/b")["route"] == "users"
    answer = ask(gw, "/shop/42?x=1")
    assert answer.json["target"] == "/api/items/42?x=1"
    assert fields(answer)["x-forwarded-prefix"] == "/shop"
    assert ask(gw, "/shop").json["target"] == "/api/"
    assert ask(gw, "/shop/../shop/%41").json["target"] == "/api/A"


def test_bodies_are_limited_by_route(gw, origin):
    with Wire(gw.address()) as client:
        assert client.post("/limited/x", b"0123456789").status == 200
        answer = client.post("/limited/y", b"0123456789a")
        assert (answer.status, answer.code) == (413, "body_too_large")
    assert not origin.requests["/limited/y"]


def test_browsers_are_told_what_they_may_do(gw, origin, watch):
    wanted = ("Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a")
    answer = ask(gw, "/cors/x", "Origin: https://app.example", *wanted, method="OPTIONS")
    assert (answer.status, answer.get("access-control-allow-origin")) == (204, "https://app.example")
    assert answer.get("access-control-allow-methods") == "GET, PUT"
    assert (answer.get("access-control-allow-headers"), answer.get("access-control-max-age")) == ("X-A", "600")
    refused = ask(gw, "/cors/x", "Origin: https://evil.test", *wanted, method="OPTIONS")
    assert (refused.status, refused.code) == (403, "origin_not_allowed")
    assert not origin.requests["/cors/x"], "preflights stay here"
    origin.at(lambda talk, request: talk.answer(b"ok", b"Access-Control-Allow-Origin: *"), "/cors/y")
    answer = ask(gw, "/cors/y", "Origin: https://app.example")
    assert answer.all("access-control-allow-origin") == ["https://app.example"]
    assert answer.get("access-control-allow-credentials") == "true"
    assert ask(gw, "/cors/y", "Origin: https://evil.test").get("access-control-allow-origin") is None


@pytest.mark.parametrize(
    ("source", "said", "status"),
    [
        ("127.0.0.1", "", 200),
        ("127.0.0.66", "", 403),
        ("127.0.0.1", "9.9.9.9", 200),  # it may say what it likes
        ("127.0.0.2", "9.9.9.9", 403),
        ("127.0.0.2", "8.8.8.8", 403),
        ("127.0.0.2", "127.0.0.5", 200),
    ],
)
def test_addresses_are_let_in_or_not(gw, source, said, status):
    answer = ask(gw, "/guarded/x", *([f"X-Forwarded-For: {said}"] if said else []), source=source)
    assert (answer.status, answer.code) == (status, None if status == 200 else "forbidden")


def test_a_filter_of_ones_own_waits_and_writes(gw, origin):
    assert fields(ask(gw, "/stamped/x", "X-Stamp: theirs"))["x-stamp"] == "hello"
    origin.at(lambda talk, request: talk.answer(b"quiet"), "/stamped/y")
    assert ask(gw, "/stamped/y").body == b"quiet"
    answer = ask(gw, "/stamped/y", "X-Shout: 1")
    assert (answer.body, answer.all("content-length")) == (b"QUIET!", [])


def test_a_bug_of_ones_own_costs_one_request(gw, origin, watch):
    with Wire(gw.address()) as client:
        answer = client.get("/stamped/z", "X-Break: 1")
        assert (answer.status, answer.code) == (500, "internal_error")
        assert b"RuntimeError" not in answer.body
        assert client.get("/stamped/x").status == 200
    assert not origin.requests["/stamped/z"]
    assert watch.line("/stamped/z")["code"] == "internal_error"
    gw.wait_log("a bug of the user's own")


def test_the_example_filter_does_as_it_says(gw):
    answer = ask(gw, "/worked-on/x")
    assert (answer.status, answer.code, answer.get("retry-after")) == (503, "maintenance", "600")
    assert ask(gw, "/worked-on/x", "X-Maintenance-Pass: 1").status == 200


def test_constants_are_answered(gw):
    answer = ask(gw, "/fixed")
    assert (answer.status, answer.body, answer.get("x-pot")) == (418, b"short", "tea")
    answer = ask(gw, "/fixed", method="HEAD")
    assert (answer.status, answer.get("content-length")) == (418, "5")


def test_redirects_name_the_new_place(gw):
    answer = ask(gw, "/moved/a/b?x=1")
    assert (answer.status, answer.get("location")) == (308, "https://new.example/a/b?x=1")
    assert ask(gw, "/moved/a").get("location") == "https://new.example/a"


def test_resource_trees_are_mounted(gw):
    with Wire(gw.address()) as client:
        answer = client.get("/mounted/a/b?q=1")
        assert (answer.status, answer.body, answer.get("x-prepath")) == (200, b"mounted a/b 1", "mounted")
        assert client.post("/mounted/", b"hello").body == b"5 bytes"
        assert client.get("/mounted/c").body == b"mounted c "


def test_a_split_keeps_to_its_weights_and_its_cookies(gw, origin, canary):
    for number in range(200):
        target = f"/split/{number}"
        for _ in range(3):
            assert ask(gw, target, f"Cookie: other=1; session={number}").status == 200
    counts = []
    for server in (origin, canary):
        got = {path: len(requests) for path, requests in server.requests.items() if path.startswith("/split/")}
        assert set(got.values()) == {3}, "a session stays where it is, in every worker"
        counts.append(len(got))
    assert sum(counts) == 200
    assert 20 <= counts[1] <= 65


def test_testers_choose_their_branch(gw, canary):
    for number in range(20):
        ask(gw, f"/split/test-{number}", "X-Branch: canary", f"Cookie: session={number}")
    assert len([path for path in canary.requests if path.startswith("/split/test-")]) == 20
    assert ask(gw, "/split/any", "X-Branch: nonsense").status == 200


def test_the_upstreams_own_host_is_sent_where_that_is_wanted(gw, origin):
    assert fields(ask(gw, "/upstream-host/x", host="a.example"))["host"] == f"127.0.0.1:{origin.port}"


def test_errors_say_html_to_browsers_and_nothing_of_the_request(gw):
    answer = ask(gw, "/nowhere/%3Cscript%3E", "Accept: text/html,*/*;q=0.1", host="a.example")
    assert (answer.status, answer.get("x-gateway-error")) == (404, "not_routed")
    assert answer.get("content-type").startswith("text/html")
    assert b"script" not in answer.body
    answer = ask(gw, "/nowhere")
    assert (answer.status, answer.code) == (404, "not_routed")
    answer = ask(gw, "/cors/x", method="DELETE")
    assert (answer.status, answer.code, answer.get("allow")) == (405, "method_not_allowed", "GET, HEAD, PUT")


def test_both_workers_did_their_share(gw):
    lines = [json.loads(line) for line in (gw.directory / "access.log").read_text().splitlines()]
    assert {line["worker"] for line in lines} == {0, 1}
