"""What would become of a request, and the route tests that rest on it."""

import json
import time

import jwt
import pytest

from suuupra_gateway.auth.apikey import make
from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.config.decode import decode
from suuupra_gateway.config.findings import ConfigErrors
from suuupra_gateway.config.model import PrincipalSpec
from suuupra_gateway.config.source import Document
from suuupra_gateway.filters.catalog import kinds
from suuupra_gateway.memory import Probe, pretended
from suuupra_gateway.plan import draft
from suuupra_gateway.steps import Caller, Change, Miss
from suuupra_gateway.testing import Gateway
from suuupra_gateway.trace import examine, run_tests, running_tests, trace

PLUGIN = '''
from twisted.internet.defer import Deferred
from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec
from suuupra_gateway.http.message import Reply

class OddSpec(FilterSpec):
    """How to be odd."""
    way: str = "counts"

class Odd(Filter[OddSpec]):
    """Does what a test wants to see in a trace."""
    pure = True
    wants_slot = True
    on_error = "It is odd."

    def __init__(self, spec, residents):
        super().__init__(spec, residents)
        self.pure = spec.way != "counts"

    def request(self, exchange):
        return {"counts": self.count, "waits": self.wait, "later": Deferred, "fails": self.fail}[self.spec.way]()

    def count(self):
        raise AssertionError("explaining must not count")

    async def wait(self):
        return Reply(418)

    def fail(self):
        raise RuntimeError("odd")

    def explain(self, exchange):
        return f"one more for {exchange.client}" if self.spec.way == "counts" else ""

kind = FilterKind("odd", OddSpec, Odd)
'''


@pytest.fixture
def plan(tmp_path):
    def make(*routes, **more):
        (tmp_path / "odd.py").write_text(PLUGIN)
        tree = {
            "listeners": [{"name": "a", "address": "127.0.0.1:0"}],
            "upstreams": {
                "users": {"endpoints": ["http://127.0.0.1:9001"]},
                "next": {
                    "endpoints": ["http://127.0.0.1:9002", {"url": "http://127.0.0.1:9003", "weight": 3}],
                    "balance": {"policy": "hash", "key": "header:X-Key"},
                    "retry": {"attempts": 1},
                },
            },
            "routes": list(routes),
            "plugins": [str(tmp_path / "odd.py")],
            **more,
        }
        return examine(Document.from_tree(tree))

    return make


def fixed(name, **more):
    return {"name": name, "auth": "none", "match": {"path": f"/{name}"}, "target": {"fixed": {}}, **more}


def proxy(name, *filters, **target):
    target = target or {"upstream": "users"}
    return fixed(name, filters=list(filters), match={"prefix": f"/{name}"}, target={"proxy": target})


# -- routes -----------------------------------------------------------------------------------------------------------


def test_the_route_that_wins_is_named_with_its_parameters(plan):
    found = trace(plan(fixed("a", match={"path": "/u/{id}/{rest*}"})), Probe("GET", "/u/7/x/y"))
    assert (found.route, found.auth, found.params) == ("a", "none", (("id", "7"), ("rest", "x/y")))


def test_every_near_miss_says_why_it_lost_nearest_first(plan):
    made = plan(
        fixed("host", match={"host": "other.example", "path": "/x"}),
        fixed("path", match={"path": "/y"}),
        fixed("slash", match={"path": "/x/"}),
        fixed("method", match={"path": "/x", "methods": ["PUT"]}),
        fixed("header", match={"path": "/x", "headers": {"X-A": "1"}}),
        fixed("later", match={"prefix": "/x"}),
        fixed("winner", match={"path": "/x"}),
    )
    found = trace(made, Probe("GET", "/x"))
    assert found.route == "winner"
    assert found.misses == (
        Miss("later", "it matches too, but winner goes first"),
        Miss("method", "method GET is not one of PUT"),
        Miss("header", "header x-a is missing"),
        Miss("slash", "path differs by a trailing slash"),
        Miss("path", "path differs at segment 1: 'x' is not 'y'"),
        Miss("host", "host is localhost, not other.example"),
    )


def test_only_the_nearest_are_named(plan):
    found = trace(plan(*(fixed(f"r{number}") for number in range(15))), Probe("GET", "/r3"))
    assert (found.route, len(found.misses), found.more_misses) == ("r3", 10, 4)


def test_without_a_route_the_answer_is_that_of_the_gateway(plan):
    found = trace(plan(fixed("a", match={"path": "/a", "methods": ["PUT"]})), Probe("GET", "/a"))
    assert (found.route, found.auth, found.target, found.forwarded) == (None, None, None, None)
    assert (found.answer.status, found.answer.code, found.answer.by) == (405, "method_not_allowed", "routing")
    assert ("allow", "PUT") in found.answer.headers


def test_a_request_that_the_edge_refuses_goes_no_further(plan):
    found = trace(plan(fixed("a")), Probe("GET", "/a b"))
    assert (found.path, found.route, found.misses) == ("", None, ())
    assert (found.answer.status, found.answer.by) == (400, "edge")


def test_escapes_are_refused_before_any_filter(plan):
    found = trace(plan(proxy("a", {"access": {"deny": ["::1"]}})), Probe("GET", "/a/%2F"))
    assert (found.answer.status, found.answer.by) == (400, "routing")
    assert [step.verdict for step in found.steps] == ["not reached"]


def test_a_preflight_is_that_of_the_route_it_asks_about(plan):
    cors = {"cors": {"origins": ["https://app.example"], "methods": ["PUT"]}}
    made = plan({**proxy("a", cors), "match": {"path": "/a", "methods": ["PUT"]}})
    headers = (("Origin", "https://app.example"), ("Access-Control-Request-Method", "PUT"))
    found = trace(made, Probe("OPTIONS", "/a", headers))
    assert (found.route, found.answer.status, found.answer.by) == ("a", 204, "filter cors")


# -- filters ----------------------------------------------------------------------------------------------------------


def test_pure_filters_are_run_and_their_changes_shown(plan):
    made = plan(
        proxy(
            "a",
            {"headers": {"request": {"set": {"X-A": "2"}, "add": {"X-B": "new"}, "remove": ["X-C"]}}},
            {"rewrite": {"strip-prefix": "/a", "query": {"remove": ["x"]}}},
        )
    )
    found = trace(made, Probe("GET", "/a/b?x=1", (("X-A", "1"), ("X-B", "old"), ("X-C", "3"))))
    assert [(step.filter, step.phase, step.verdict) for step in found.steps] == [
        ("headers", "request", "goes on"),
        ("rewrite", "request", "goes on"),
    ]
    assert found.steps[0].changes == (
        Change("x-a", "1", "2"),
        Change("x-b", "old", "old, new"),
        Change("x-c", "3", None),
    )
    assert found.steps[1].changes == (Change("path", "/a/b", "/b"), Change("query", "x=1", None))
    assert found.forwarded.target == "/b"
    assert ("x-forwarded-prefix", "/a") in found.forwarded.headers


def test_a_filter_that_answers_ends_the_way(plan):
    made = plan(proxy("a", {"access": {"deny": ["10.0.0.0/8"]}}, {"headers": {}}))
    found = trace(made, Probe("GET", "/a", (), "10.1.2.3"))
    assert [step.verdict for step in found.steps] == ["answers 403 forbidden", "not reached"]
    assert (found.answer.status, found.answer.by, found.target) == (403, "filter access", None)


def test_the_gateways_answers_are_shown_as_their_filters_leave_them(plan):
    made = plan(fixed("a", filters=[{"headers": {"response": {"set": {"X-Frame-Options": "DENY"}}}}]))
    assert ("x-frame-options", "DENY") in trace(made, Probe("GET", "/a")).answer.headers


def test_filters_with_effects_are_not_run_but_asked(plan):
    (step,) = trace(plan(proxy("a", {"odd": {}})), Probe("GET", "/a")).steps
    assert (step.verdict, step.says, step.on_error) == ("not evaluated", "one more for 192.0.2.1", "It is odd.")


@pytest.mark.parametrize("way", ["waits", "later"])
def test_filters_that_would_wait_are_not_waited_for(plan, way):
    found = trace(plan(proxy("a", {"odd": {"way": way}})), Probe("GET", "/a"))
    assert found.steps[0].verdict == "would wait"
    assert found.target == "proxy"


def test_filters_that_fail_do_so_in_the_trace(plan):
    found = trace(plan(proxy("a", {"odd": {"way": "fails"}})), Probe("GET", "/a"))
    assert (found.steps[0].verdict, found.steps[0].says) == ("answers 500 internal_error", "RuntimeError: odd")
    assert found.answer.by == "filter odd"


def test_filters_of_answers_alone_say_so(plan, tmp_path):
    plugin = tmp_path / "late.py"
    plugin.write_text(
        "from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec\n"
        "class Late(Filter[FilterSpec]):\n"
        "    '''Comes late.'''\n"
        "    def response(self, exchange, head):\n"
        "        return None\n"
        "kind = FilterKind('late', FilterSpec, Late)\n"
    )
    made = plan(proxy("a", {"late": {}}), plugins=[str(plugin)])
    assert trace(made, Probe("GET", "/a")).steps[0].verdict == "answer only"


def test_a_body_over_the_limit_is_refused_after_the_filters(plan):
    made = plan(proxy("a"), proxy("b", {"body-limit": "20MiB"}))
    long = (("Content-Length", str(11 * 1024 * 1024)),)
    assert trace(made, Probe("POST", "/a", long)).answer.code == "body_too_large"
    assert trace(made, Probe("POST", "/b", long)).answer is None


# -- who is calling ---------------------------------------------------------------------------------------------------

DOOR = '''
from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec, Phase
from suuupra_gateway.filters.rehearsal import Rehearsal
from suuupra_gateway.http.message import Reply

class DoorSpec(FilterSpec):
    """Whom to let in."""
    asks: str = ""

class Door(Filter[DoorSpec]):
    """Authenticates as a test wants it."""
    phase = Phase.AUTHENTICATE
    pure = False

    def rehearse(self, exchange, principal):
        exchange.head.headers[:] = [pair for pair in exchange.head.headers if pair[0] != b"authorization"]
        if principal is not None:
            exchange.principal = principal
            exchange.head.headers.append((b"x-user-id", principal.subject.encode()))
            return Rehearsal(None, "as it was said")
        if self.spec.asks:
            return Rehearsal(None, "nobody knows here", self.spec.asks)
        return Rehearsal(Reply.problem(401, code="unauthorized"), "nothing shown")

kind = FilterKind("door", DoorSpec, Door)
'''


@pytest.fixture
def guarded(plan, tmp_path):
    def make(**door):
        (tmp_path / "door.py").write_text(DOOR)
        return plan(proxy("a", {"door": door}), plugins=[str(tmp_path / "door.py")])

    return make


ALICE = Principal(
    "alice", "jwt", "corp", scopes=frozenset("ba"), roles=frozenset({"r"}), tenant="t", claims={"x": 1}, key="k"
)


def test_a_principal_is_let_in_and_shown_without_claims(guarded):
    found = trace(guarded(), Probe("GET", "/a", (("Authorization", "Bearer secret"),), principal=ALICE))
    (step,) = found.steps
    assert (step.phase, step.verdict, step.says) == ("authenticate", "goes on", "as it was said")
    assert step.changes == (Change("authorization", "Bearer ***", None), Change("x-user-id", None, "alice"))
    assert found.caller == Caller("alice", "jwt", "corp", ("a", "b"), ("r",), "t", "k")
    assert ("x-user-id", "alice") in found.forwarded.headers
    assert json.loads(json.dumps(found.as_dict()))["caller"]["scopes"] == ["a", "b"]


def test_nobody_is_let_in(guarded):
    found = trace(guarded(), Probe("GET", "/a"))
    assert (found.steps[0].verdict, found.steps[0].says) == ("answers 401 unauthorized", "nothing shown")
    assert (found.caller, found.forwarded, found.answer.by) == (None, None, "filter door")


def test_whom_to_ask_is_told_and_the_rest_is_as_for_those_who_are_let_in(guarded):
    found = trace(guarded(asks="introspection opaque"), Probe("GET", "/a"))
    assert (found.steps[0].verdict, found.steps[0].says) == ("would ask introspection opaque", "nobody knows here")
    assert (found.asks, found.caller, found.upstream) == ("introspection opaque", None, "users")


KEY = make("live").text.decode()
SECRET = "0123456789abcdef0123456789abcdef"
CORP = {"issuer": "https://id.example.org", "audiences": ["api"]}
IDENTITY = {"providers": {"corp": {**CORP, "secret": SECRET, "algorithms": ["HS256"]}, "far": CORP}}


def token(key=SECRET, **claims):
    """A token of corp."""
    now = int(time.time())
    usual = {"iss": "https://id.example.org", "aud": "api", "sub": "alice", "iat": now, "exp": now + 600}
    return jwt.encode({**usual, **claims}, key, "HS256")


def private(*credentials, name="a", **auth):
    """A private route."""
    credentials = credentials or ({"jwt": {"provider": "corp"}},)
    return proxy(name) | {"auth": {"any": list(credentials), **auth}}


def bearing(token):
    return (("Authorization", f"Bearer {token}"),)


def test_a_token_is_verified_where_its_keys_are_at_hand(plan):
    made = plan(private(scopes={"all": ["read"]}), identity=IDENTITY)
    found = trace(made, Probe("GET", "/a", bearing(token(scope="read write"))))
    (step,) = found.steps
    assert (step.filter, step.verdict, step.says) == ("auth", "goes on", "jwt corp: accepted")
    assert Change("authorization", "Bearer ***", None) in step.changes
    assert found.caller == Caller("alice", "jwt", "corp", ("read", "write"), (), "", "")
    assert dict(found.forwarded.headers)["x-user-id"] == "alice"
    assert "authorization" not in dict(found.forwarded.headers)


@pytest.mark.parametrize(
    ("headers", "status", "says"),
    [
        ((), 401, "jwt corp: not shown"),
        (bearing(token(exp=1)), 401, "jwt corp: refused, expired"),
        (bearing(token(aud="other")), 401, "jwt corp: refused, wrong_audience"),
        (bearing(token(key=SECRET[::-1])), 401, "jwt corp: refused, bad_signature"),
        (bearing("x") * 2, 400, "jwt corp: refused, several_credentials"),
        (bearing(token(scope="write")), 403, "jwt corp: accepted; insufficient_scope: "),
    ],
)
def test_why_nobody_is_let_in_is_told(plan, headers, status, says):
    found = trace(plan(private(scopes={"all": ["read"]}), identity=IDENTITY), Probe("GET", "/a", headers))
    assert (found.answer.status, found.answer.by, found.forwarded) == (status, "filter auth", None)
    assert found.steps[0].says.startswith(says)


def test_whose_keys_would_be_needed_is_told(plan):
    made = plan(private({"jwt": {"provider": "far"}}), identity=IDENTITY)
    found = trace(made, Probe("GET", "/a", bearing(token())))
    assert (found.asks, found.steps[0].verdict, found.caller) == ("provider far", "would ask provider far", None)
    assert "authorization" not in dict(found.forwarded.headers)
    assert trace(made, Probe("GET", "/a")).answer.status == 401


@pytest.mark.parametrize(
    ("headers", "asks", "says"),
    [
        ((), "forward-auth legacy", "forward-auth legacy: forward-auth legacy would have to be asked"),
        ((("X-API-Key", "sgk_live_odd"),), "forward-auth legacy", "api-key: refused, malformed"),
        ((("X-API-Key", KEY),), "the store of API keys, forward-auth legacy", "api-key: the store of API keys would"),
        (
            bearing("opaque"),
            "introspection opaque, forward-auth legacy",
            "introspection opaque: introspection opaque would",
        ),
    ],
)
def test_what_others_decide_about_is_not_asked_and_not_shown(plan, tmp_path, headers, asks, says):
    identity = {
        "api-keys": {"peppers": [SECRET], "file": str(tmp_path / "keys.sqlite")},
        "introspection": {"opaque": {"url": "http://127.0.0.1:1/"}},
        "forward-auth": {"legacy": {"url": "http://127.0.0.1:1/"}},
    }
    credentials = {"api-key": {}}, {"introspection": {"by": "opaque"}}, {"forward-auth": {"by": "legacy"}}
    found = trace(plan(private(*credentials), identity=identity), Probe("GET", "/a", headers))
    assert (found.asks, found.steps[0].verdict) == (asks, f"would ask {asks}")
    assert says in found.steps[0].says
    assert found.caller is None
    assert not {"authorization", "x-api-key"} & set(dict(found.forwarded.headers))
    assert KEY not in json.dumps(found.as_dict())
    assert not (tmp_path / "keys.sqlite").exists()


LOGIN = {
    "provider": "far",
    "client-id": "gw",
    "redirect-uri": "https://app.example.org/cb",
    "session": {"keys": [SECRET]},
}


@pytest.mark.parametrize(
    ("headers", "status", "says"),
    [
        ((), 401, "session web: not shown"),
        ((("Accept", "text/html"),), 302, "session web: not shown, would be sent to log in"),
        ((("Cookie", "__Host-sg_session=hush.hush"),), None, "session web: login web would have to be asked"),
    ],
)
def test_no_login_is_begun(plan, headers, status, says):
    made = plan(private({"session": {"login": "web"}}), identity={**IDENTITY, "logins": {"web": LOGIN}})
    found = trace(made, Probe("GET", "https://app.example.org/a", headers))
    assert (found.answer.status if found.answer is not None else None, found.steps[0].says) == (status, says)
    assert "hush" not in json.dumps(found.as_dict())
    assert found.answer is None or not {"location", "set-cookie"} & set(dict(found.answer.headers))


def test_endpoints_of_a_login_without_a_path_are_nowhere(plan):
    login = {**LOGIN, "logout-path": "", "backchannel-path": ""}
    made = plan(private({"session": {"login": "web"}}), identity={**IDENTITY, "logins": {"web": login}})
    assert [name for name in made.routes if name.startswith("login:")] == ["login:web:callback"]
    assert trace(made, Probe("POST", "https://app.example.org/a")).route == "a"


def test_a_principal_is_known_by_the_routes_own_credential(plan):
    made = plan(private(roles={"any": ["r"]}), identity=IDENTITY)
    found = trace(made, Probe("GET", "/a", bearing(token(exp=1)), principal=pretended(PrincipalSpec(roles=("r",)))))
    assert (found.caller.subject, found.caller.credential, found.caller.provider) == ("somebody", "jwt", "corp")
    refused = trace(made, Probe("GET", "/a", principal=pretended(PrincipalSpec())))
    assert (refused.answer.status, refused.steps[0].says) == (
        403,
        "the caller is given, missing_role: roles have none of r",
    )
    other = trace(made, Probe("GET", "/a", principal=pretended(PrincipalSpec(credential="api-key"))))
    assert (other.answer.status, other.steps[0].says) == (401, "nobody is let in here by api-key")


def test_credentials_are_never_shown(plan):
    secrets = (("Authorization", "Bearer hush"), ("Cookie", "sid=hush; a=b"), ("Proxy-Authorization", "hush"))
    edits = {"headers": {"request": {"rename": {"Authorization": "X-Legacy"}, "add": {"Cookie": "more=hush"}}}}
    identity = {"forward-auth": {"legacy": {"url": "https://auth", "request-headers": ["X-Legacy"]}}}
    found = trace(plan(proxy("a", edits), identity=identity), Probe("GET", "/a", secrets))
    assert "hush" not in json.dumps(found.as_dict())
    assert ("cookie", "sid=***; a=***") in found.forwarded.headers
    assert Change("authorization", "Bearer ***", None) in found.steps[0].changes


# -- targets ----------------------------------------------------------------------------------------------------------


def test_constant_and_redirect_targets_are_simply_asked(plan):
    made = plan(fixed("a"), fixed("b", target={"redirect": {"to": "/x?{query}"}}))
    assert trace(made, Probe("GET", "/a")).answer.by == "target"
    found = trace(made, Probe("GET", "/b?y=1"))
    assert (found.target, found.answer.status) == ("redirect", 308)
    assert ("location", "/x?y=1") in found.answer.headers


def test_a_mounted_resource_is_not_asked(plan):
    found = trace(plan(fixed("a", target={"mount": {"resource": "tests.test_plan:ROOT"}})), Probe("GET", "/a"))
    assert (found.target, found.answer, found.branches, found.upstream) == ("mount", None, (), None)


def test_the_policy_of_the_upstream_is_shown(plan):
    (branch,) = trace(plan(proxy("a")), Probe("GET", "/a")).branches
    assert (branch.upstream, branch.share, branch.balance) == ("users", 1.0, "least-request")
    assert branch.endpoints == ("http://127.0.0.1:9001",)
    assert dict(branch.timeouts)["first-byte"] == "10s"
    assert branch.attempts == 2


def test_weights_and_keys_are_shown_where_they_matter(plan):
    (branch,) = trace(plan(proxy("a", upstream="next")), Probe("GET", "/a")).branches
    assert branch.balance == "hash by header:X-Key"
    assert branch.endpoints == ("http://127.0.0.1:9002 (weight 1)", "http://127.0.0.1:9003 (weight 3)")


@pytest.mark.parametrize(
    ("method", "target", "headers", "says"),
    [
        ("GET", {"upstream": "users"}, (), "GET is, on failures before the answer and answers 502, 503, 504"),
        ("POST", {"upstream": "users"}, (), "only while no byte was sent: POST is not idempotent"),
        ("PUT", {"upstream": "users"}, (("Content-Length", "3"),), "if its body is at most 64KiB"),
        ("GET", {"upstream": "next"}, (), "never: retries are off"),
        (
            "POST",
            {"upstream": "users", "retry": {"idempotency-key": "Idempotency-Key", "statuses": []}},
            (("Idempotency-Key", "k"),),
            "POST is, on failures before the answer, within a budget of 20%",
        ),
    ],
)
def test_whether_this_request_would_be_repeated_is_told(plan, method, target, headers, says):
    (branch,) = trace(plan(proxy("a", **target)), Probe(method, "/a", headers)).branches
    assert says in branch.retried


SPLIT = [{"upstream": "users", "weight": 3}, {"upstream": "next", "weight": 1}]


def test_a_split_shows_its_shares_and_leaves_chance_alone(plan):
    found = trace(plan(proxy("a", split=SPLIT)), Probe("GET", "/a"))
    assert [(branch.upstream, branch.share) for branch in found.branches] == [("users", 0.75), ("next", 0.25)]
    assert found.upstream is None


def test_a_sticky_caller_is_shown_its_branch(plan):
    made = plan(proxy("a", split=SPLIT, sticky="cookie:sid"))
    chosen = {trace(made, Probe("GET", "/a", (("Cookie", f"sid={n}"),))).upstream for n in range(50)}
    assert chosen == {"users", "next"}
    assert trace(made, Probe("GET", "/a")).upstream is None


def test_a_tester_is_shown_the_branch_that_the_header_names(plan):
    made = plan(proxy("a", **{"split": SPLIT, "override-header": "X-Branch"}))
    assert trace(made, Probe("GET", "/a", (("X-Branch", "next"),))).upstream == "next"
    assert trace(made, Probe("GET", "/a", (("X-Branch", "none"),))).upstream is None


def test_the_head_that_the_upstream_would_see_is_shown(plan):
    probe = Probe("GET", "https://api.example/a?x", (("X-User-Id", "forged"), ("Accept", "*/*")), "198.51.100.7")
    seen = trace(plan(proxy("a")), probe).forwarded
    fields = dict(seen.headers)
    assert (seen.method, seen.target, fields["host"]) == ("GET", "/a?x", "api.example")
    assert (fields["x-forwarded-for"], fields["x-forwarded-proto"]) == ("198.51.100.7", "https")
    assert "x-user-id" not in fields


# -- the function -----------------------------------------------------------------------------------------------------


def test_tracing_changes_nothing_and_always_says_the_same(plan):
    made = plan(proxy("a", {"headers": {"request": {"add": {"X": "1"}}}}))
    probe = Probe("GET", "/a")
    first = trace(made, probe)
    assert trace(made, probe) == first
    assert made.upstreams["users"].active == 0


def test_a_trace_is_json(plan):
    found = trace(plan(proxy("a", {"access": {"deny": ["::1"]}})), Probe("GET", "/a")).as_dict()
    assert json.loads(json.dumps(found))["steps"][0]["filter"] == "access"


def test_what_a_trace_says_is_what_the_gateway_does():
    """One configuration, looked at and run."""
    tree = {
        "listeners": [{"name": "a", "address": "127.0.0.1:0"}],
        "upstreams": {"users": {"endpoints": ["http://127.0.0.1:9001"]}},
        "routes": [
            proxy("a", {"rewrite": {"strip-prefix": "/a"}}, {"headers": {"request": {"set": {"X-A": "1"}}}}),
            fixed("b", filters=[{"access": {"deny": ["10.0.0.0/8"]}}]),
        ],
    }
    plan, gateway = examine(Document.from_tree(tree)), Gateway(tree)
    for url, client in [("/a/x?y=1", "192.0.2.1"), ("/b", "10.0.0.1"), ("/b", "192.0.2.1"), ("/c", "192.0.2.1")]:
        found = trace(plan, Probe("GET", url, (), client))
        answer = gateway.ask(f"GET {url}", client=client)
        if found.forwarded is not None:
            seen = gateway.seen[-1]
            target = seen.path if seen.query is None else seen.path + b"?" + seen.query
            assert (target.decode(), [(n.decode(), v.decode()) for n, v in seen.headers]) == (
                found.forwarded.target,
                list(found.forwarded.headers),
            )
        else:
            assert answer.status == found.answer.status


@pytest.mark.parametrize(
    "headers",
    [
        (),
        bearing(token(scope="read", roles=["r"], tenant="acme")),
        bearing(token(scope="read")),
        bearing(token(roles=["r"])),
        bearing(token(exp=1)),
        bearing("x"),
        bearing(token()) * 2,
        (("Authorization", "Basic eDp5"),),
    ],
)
@pytest.mark.parametrize(
    "auth",
    [
        {"scopes": {"all": ["read"]}},
        {"roles": {"any": ["r"]}, "forward-credentials": True},
        {"claims": {"tenant": {"exists": False}}, "headers": False},
    ],
)
def test_what_a_trace_says_of_callers_is_what_the_gateway_does(headers, auth):
    tree = {
        "listeners": [{"name": "a", "address": "127.0.0.1:0"}],
        "identity": IDENTITY,
        "upstreams": {"users": {"endpoints": ["http://127.0.0.1:9001"]}},
        "routes": [private(**auth)],
    }
    found = trace(examine(Document.from_tree(tree)), Probe("GET", "/a", headers))
    gateway = Gateway(tree)
    answer = gateway.ask("GET /a", headers=headers)
    if found.forwarded is None:
        assert (answer.status, len(gateway.seen)) == (found.answer.status, 0)
        told = dict(found.answer.headers).get("www-authenticate", "")
        assert (answer.get(b"www-authenticate") or b"") == told.encode()
    else:
        masked = [
            (name.decode(), "Bearer ***" if name == b"authorization" else value.decode())
            for name, value in gateway.seen[0].headers
        ]
        assert (answer.status, masked) == (200, list(found.forwarded.headers))


# -- route tests ------------------------------------------------------------------------------------------------------


NAMES = {"users": 9001, "next": 9002}


def with_tests(route, *tests):
    return {**route, "tests": [{"request": request, "expect": expect} for request, expect in tests]}


@pytest.fixture
def failures():
    """What the tests of these routes say, as texts."""

    def run(*routes, **more):
        tree = {
            "listeners": [{"name": "a", "address": "127.0.0.1:0"}],
            "upstreams": {name: {"endpoints": [f"http://127.0.0.1:{port}"]} for name, port in NAMES.items()},
            "routes": list(routes),
            **more,
        }
        known = kinds()
        return [str(failure) for failure in run_tests(draft(decode(Document.from_tree(tree), known), known))]

    return run


def test_expectations_that_are_met_say_nothing(failures):
    expect = {"route": "a", "upstream": "users", "path": "/x?y=1", "auth": "none"}
    route = with_tests(proxy("a", {"rewrite": {"strip-prefix": "/a"}}), ("GET /a/x?y=1", expect))
    other = with_tests(fixed("b"), ("/b", {"status": 200}), ("/none", {"route": "none", "status": 404}))
    assert failures(route, other) == []


def test_another_route_is_told_with_the_reason(failures):
    routes = (
        with_tests(fixed("a", match={"path": "/x", "methods": ["PUT"]}), ("GET /x", {"route": "a", "status": 200})),
        fixed("b", match={"prefix": "/x"}),
    )
    assert failures(*routes) == [
        "route a, test 1: GET /x: expected route a, got b (because method GET is not one of PUT)"
    ]


@pytest.mark.parametrize(
    ("test", "why"),
    [
        (("GET /c", {"route": "a"}), "expected route a, got none but 404 not_routed from routing (because path"),
        (("GET /a b", {"route": "a"}), "got none but 400 bad_request from edge (because the request is refused"),
        (("GET /b", {"route": "none"}), "expected route none, got b"),
        (("GET /b", {"status": 404}), "expected status 404, got 200 from target"),
        (("GET /a", {"status": 404}), "expected status 404, got an answer from upstream users"),
        (("GET /m", {"status": 404}), "expected status 404, got an answer from the mount target"),
        (("GET /s", {"upstream": "users"}), "expected upstream users, got an answer from upstream users or next"),
        (("GET /b", {"upstream": "users"}), "expected upstream users, got 200 from target"),
        (("GET /a?x", {"path": "/b"}), "expected path /b, got /a?x"),
        (("GET /b", {"path": "/b"}), "expected path /b, got 200 from target"),
        (("GET /a", {"auth": "required"}), "expected auth required, got auth none"),
        (("GET /c", {"auth": "none"}), "expected auth none, got no route"),
    ],
)
def test_what_is_not_as_expected_is_told(failures, test, why):
    mount = fixed("m", target={"mount": {"resource": "tests.test_plan:ROOT"}})
    (found,) = failures(with_tests(fixed("b"), test), proxy("a"), mount, proxy("s", split=SPLIT))
    assert found.startswith(f"route b, test 1: {test[0]}: ")
    assert why in found


def test_tests_say_who_is_calling(failures):
    def asked(principal=None, **more):
        return {"url": "/a", **({"principal": principal} if principal is not None else {}), **more}

    route = with_tests(
        private(scopes={"all": ["read"]}, claims={"org.id": {"equals": 7}}),
        (asked(), {"route": "a", "auth": "required", "status": 401}),
        (asked("alice"), {"status": 403}),
        (asked({"scopes": ["read"]}), {"status": 403}),
        (asked({"scopes": ["read"], "claims": {"org": {"id": 7}}}), {"upstream": "users", "path": "/a"}),
        (asked({"credential": "session"}), {"status": 401}),
        (asked(headers={"Authorization": "Bearer x"}), {"status": 401}),
    )
    assert failures(route, identity=IDENTITY) == []


@pytest.mark.parametrize(
    ("request_", "expect", "why"),
    [
        (
            {"url": "/a"},
            {"upstream": "users"},
            "expected upstream users, got 401 unauthorized from filter auth (jwt corp: not shown; give the request a "
            "principal, or a credential)",
        ),
        (
            {"url": "/a", "principal": "alice"},
            {"path": "/a"},
            "expected path /a, got 403 forbidden from filter auth (the caller is given, missing_role: roles have none of r)",
        ),
        ({"url": "/a"}, {"auth": "none"}, "expected auth none, got auth required"),
        (
            {"url": "/far", "headers": {"Authorization": "Bearer x.y.z"}},
            {"status": 401},
            "expected status 401, got what provider far says: give the request a principal",
        ),
    ],
)
def test_who_was_not_let_in_is_told_with_the_reason(failures, request_, expect, why):
    route = with_tests(private(roles={"any": ["r"]}), (request_, expect))
    (found,) = failures(route, private({"jwt": {"provider": "far"}}, name="far"), identity=IDENTITY)
    assert found.endswith(why)


def test_all_that_is_not_as_expected_is_told(failures):
    found = failures(with_tests(proxy("a"), ("GET /a", {"status": 200, "upstream": "next", "path": "/"}), ("/a", {})))
    assert len(found) == 3


def test_failures_are_placed_in_the_file(tmp_path):
    from suuupra_gateway.config.source import load

    file = tmp_path / "gateway.yaml"
    file.write_text(
        "listeners: [{name: a, address: '127.0.0.1:0'}]\n"
        "routes:\n"
        "  - name: a\n"
        "    auth: none\n"
        "    target: {fixed: {}}\n"
        "    tests:\n"
        "      - request: /x\n"
        "        expect: {route: a, status: 404}\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        examine(load(file))
    (error,) = caught.value.errors
    assert str(error).startswith(f"{file}:8:36: routes[0].tests[0].expect.status (a): ")
    assert "expected status 404, got 200 from target" in error.why


def test_tests_pause_after_each(plan):
    made = plan(with_tests(fixed("a"), ("/a", {"route": "a"}), ("/a", {"status": 200})))
    assert len(list(running_tests(made))) == 2


def test_a_route_that_is_not_there_is_told(plan):
    from suuupra_gateway.walk import Walk

    walk = Walk(plan(fixed("a")), Probe("GET", "/a"))
    assert walk.why_not("nobody") == "there is no route called nobody"
    assert walk.why_not("a") == "it matches too, but a goes first"


def test_a_probe_is_only_believed_about_others_if_its_sender_is_trusted(plan):
    match = {"path": "/a", "headers": {"X-Forwarded-Proto": "https"}}
    route = {"name": "secure", "match": match, "auth": "none", "target": {"fixed": {}}}
    made = plan(route, gateway={"trusted-proxies": ["10.0.0.0/8"]})
    fields = (("X-Forwarded-Proto", "https"),)
    assert trace(made, Probe("GET", "/a", fields, client="10.0.0.1")).route == "secure"
    assert trace(made, Probe("GET", "/a", fields, client="192.0.2.1")).route is None
