"""From ``identity:`` to live credentials: what is made of what, what outlives plans, and routes that nobody has written."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.internet.task import Clock

from suuupra_gateway.auth.bearer import JwtCredential
from suuupra_gateway.auth.board import QuietBoard
from suuupra_gateway.auth.certificate import ClientCertificate
from suuupra_gateway.auth.forward import ForwardAuthCredential
from suuupra_gateway.auth.introspection import IntrospectionCredential
from suuupra_gateway.auth.keycredential import KeyCredential
from suuupra_gateway.auth.sessioncredential import SessionCredential
from suuupra_gateway.cli import main
from suuupra_gateway.config.decode import decode, gateway_model
from suuupra_gateway.config.findings import ConfigErrors
from suuupra_gateway.config.model import StoreSpec, UpstreamSpec
from suuupra_gateway.config.source import Document
from suuupra_gateway.filters.auth import Auth
from suuupra_gateway.filters.base import Phase
from suuupra_gateway.filters.catalog import kinds
from suuupra_gateway.filters.renewal import RenewingAuth
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.identity import Counting, KeyRingSpec, LoginParts, Sharing, register
from suuupra_gateway.memory import MemoryExchange
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.plan import compile_plan, draft
from suuupra_gateway.residents import Residents
from suuupra_gateway.routing.resource import RouteResource
from suuupra_gateway.trace import examine
from suuupra_gateway.upstreams.upstream import Upstream


@pytest.fixture
def keys(tmp_path):
    """A private and a public key."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(private), str(public)


@pytest.fixture
def tree(tmp_path, keys):
    """Make a configuration in which everything is there."""

    def make(*routes, gateway=None, **identity):
        return {
            "listeners": [{"name": "public", "address": "127.0.0.1:0"}],
            "gateway": gateway or {},
            "upstreams": {name: {"endpoints": ["http://127.0.0.1:9001"]} for name in ("blue", "green")},
            "identity": {
                "providers": {"corp": {"issuer": "https://id.example", "audiences": ["a"], "keys": keys[1]}},
                "api-keys": {"peppers": ["p" * 32], "file": str(tmp_path / "keys.sqlite")},
                "introspection": {"opaque": {"url": "https://id.example/introspect", "audiences": ["a"]}},
                "forward-auth": {"gate": {"url": "https://gate.example/"}},
                "client-certificates": {},
                "realm": "here",
                **identity,
            },
            "routes": list(routes),
        }

    return make


def route(name="r", auth=None, target=None, **match):
    auth = {"any": [{"jwt": {"provider": "corp"}}]} if auth is None else auth
    return {
        "name": name,
        "match": match or {"prefix": f"/{name}"},
        "auth": auth,
        "target": target or {"proxy": {"upstream": "blue"}},
    }


def plan_of(tree):
    return examine(Document.from_tree(tree))


class Process:
    """One that serves by one plan after the other."""

    def __init__(self, run_dir=""):
        self.clock = Clock()
        self.sweep = Sweep(self.clock, monotonic=self.clock.seconds, wall=self.clock.seconds)
        self.residents = Residents()
        self.residents.register(UpstreamSpec, lambda spec: Upstream(spec, self.clock, self.sweep))
        register(self.residents, reactor=self.clock, sweep=self.sweep, board=QuietBoard(), run_dir=lambda: str(run_dir))

    def reload(self, tree):
        known = kinds()
        config = decode(Document.from_tree(tree), known)
        plan = compile_plan(config, self.residents, kinds=known, reactor=self.clock, sweep=self.sweep)
        self.residents.settle(plan.claims)
        return plan


def guard_of(plan, name="r"):
    (guard,) = plan.routes[name].filters
    assert isinstance(guard, Auth)
    return guard


# -- credentials ------------------------------------------------------------------------------------------------------


def test_public_routes_have_no_guard_and_private_ones_are_guarded_before_all_else_is_done(tree):
    filters = [{"headers": {"request": {"set": {"X-A": "1"}}}}, {"access": {"deny": ["10.0.0.0/8"]}}]
    plan = plan_of(tree(route("open", auth="none"), {**route("closed"), "filters": filters}))
    assert plan.routes["open"].filters == ()
    assert [each.phase for each in plan.routes["closed"].filters] == [Phase.ACCESS, Phase.AUTHENTICATE, Phase.REQUEST]


@pytest.mark.parametrize(
    ("entry", "kind", "provider", "challenge"),
    [
        ({"jwt": {"provider": "corp"}}, JwtCredential, "corp", b'Bearer realm="here"'),
        ({"api-key": {}}, KeyCredential, "", b'ApiKey realm="here"'),
        ({"introspection": {"by": "opaque"}}, IntrospectionCredential, "opaque", b'Bearer realm="here"'),
        ({"forward-auth": {"by": "gate"}}, ForwardAuthCredential, "gate", b""),
        ({"client-certificate": {}}, ClientCertificate, "", b""),
    ],
)
@pytest.mark.parametrize("joint", ["any", "all"])
def test_each_kind_of_credential_is_made(tree, entry, kind, provider, challenge, joint):
    (made,) = guard_of(plan_of(tree(route(auth={joint: [entry]})))).credentials
    assert isinstance(made, kind)
    assert (made.kind, made.provider, made.challenge) == (next(iter(entry)), provider, challenge)


@pytest.mark.parametrize(
    ("entry", "missing", "why"),
    [
        ({"client-certificate": {}}, "client-certificates", "client-certificates"),
        ({"api-key": {}}, "api-keys", "api-keys"),
    ],
)
def test_what_identity_does_not_know_of_is_refused(tree, entry, missing, why):
    with pytest.raises(ConfigErrors, match=why):
        plan_of(tree(route(auth={"any": [entry]}), **{missing: None}))


def test_keys_that_cannot_be_read_are_said_at_the_route(tree, tmp_path):
    providers = {"corp": {"issuer": "i", "audiences": ["a"], "keys": str(tmp_path / "none.pem")}}
    with pytest.raises(ConfigErrors, match=r"none\.pem"):
        plan_of(tree(route(), providers=providers))


def test_requirements_that_mean_nothing_are_refused(tree):
    auth = {"any": [{"jwt": {"provider": "corp"}}], "scopes": {"any": ["a b"]}}
    with pytest.raises(ConfigErrors, match="scope"):
        plan_of(tree(route(auth=auth)))


# -- what lives on ----------------------------------------------------------------------------------------------------


def test_providers_and_counters_outlive_plans_and_change_with_their_specs(tree):
    process = Process()
    first = process.reload(tree(route()))
    second = process.reload(tree(route(), route("other")))
    provider = process.residents.claim(first.config.identity.providers[0])
    assert provider is process.residents.claim(second.config.identity.providers[0])
    exchange = MemoryExchange(RequestHead(b"GET", b"/", []))
    for plan in (first, second):
        assert guard_of(plan).request(exchange).status == 401
    (sample,) = [each for each in process.residents.samples() if each.name == "suuupra_auth_decisions_total"]
    assert (sample.labels, sample.value) == ((("provider", "corp"), ("result", "missing"), ("source", "live")), 2)
    third = process.reload(
        tree(
            route(),
            providers={"corp": {"issuer": "j", "audiences": ["a"], "secret": "s" * 32, "algorithms": ["HS256"]}},
        )
    )
    assert process.residents.claim(third.config.identity.providers[0]) is not provider


def test_keys_are_kept_in_the_store_if_there_is_one(tree):
    process = Process()
    auth = {"any": [{"api-key": {}}]}
    alone = process.reload(tree(route(auth=auth)))
    (ring,) = [spec for spec in alone.claims if isinstance(spec, KeyRingSpec)]
    assert (ring.store, ring.file.endswith("keys.sqlite")) == (None, True)
    shared = process.reload(tree(route(auth=auth), gateway={"store": "redis://127.0.0.1:1/0"}))
    (ring,) = [spec for spec in shared.claims if isinstance(spec, KeyRingSpec)]
    assert (ring.store.url, ring.file) == ("redis://127.0.0.1:1/0", "")
    assert [spec.url for spec in shared.claims if isinstance(spec, StoreSpec)] == ["redis://127.0.0.1:1/0"]
    process.residents.close()


@pytest.mark.parametrize("other", [{"prefix": "staging"}, {"database": 2}, {"url": "redis://127.0.0.1:2/0"}])
def test_what_is_remembered_of_one_store_is_not_believed_of_another(tree, tmp_path, other):
    process = Process(tmp_path)
    names = set()
    for store in ({"url": "redis://127.0.0.1:1"}, {"url": "redis://127.0.0.1:1", **other}):
        plan = process.reload(tree(route(auth={"any": [{"api-key": {}}]}), gateway={"store": store}))
        (spec,) = [spec for spec in plan.claims if isinstance(spec, KeyRingSpec)]
        names.add(process.residents.claim(spec)._decisions._memory._namespace)
    assert len(names) == 2
    process.residents.close()


@pytest.mark.parametrize(
    "entry", [{"api-key": {}}, {"introspection": {"by": "opaque"}}, {"forward-auth": {"by": "gate"}}]
)
def test_decisions_are_shared_as_long_as_somebody_decides(tree, tmp_path, entry):
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    process = Process(run)
    plan = process.reload(tree(route(auth={"any": [entry]})))
    assert Sharing() in plan.claims
    shares = process.residents.claim(Sharing())
    assert shares.shared is not None
    assert process.residents.claim(Sharing()) is shares
    assert list(run.iterdir())
    process.reload(tree(route()))
    assert Sharing() not in plan_of(tree(route())).claims
    assert process.residents.claim(Sharing()) is not shares
    process.residents.close()


def test_without_a_place_nothing_is_shared(tree):
    process = Process()
    process.reload(tree(route(auth={"any": [{"introspection": {"by": "opaque"}}]})))
    assert process.residents.claim(Sharing()).shared is None
    assert isinstance(process.residents.claim(Counting()).counts, dict)
    process.residents.close()


# -- logins -----------------------------------------------------------------------------------------------------------


def login(uri="https://app.example/cb", **more):
    session = {"keys": ["s" * 40], **more}
    return {"provider": "found", "client-id": "gw", "client-secret": "x" * 16, "redirect-uri": uri, "session": session}


FOUND = {"found": {"issuer": "https://id.example", "audiences": ["gw"]}}
BROWSERS = {"any": [{"session": {"login": "web"}}]}


def test_routes_for_browsers_renew_sessions_and_bring_the_endpoints_of_the_login(tree):
    plan = plan_of(tree(route(auth=BROWSERS), providers=FOUND, logins={"web": login()}))
    (guard,) = plan.routes["r"].filters
    assert isinstance(guard, RenewingAuth)
    assert isinstance(guard.credentials[0], SessionCredential)
    found = {
        (method, path): plan.table.match(RequestHead(method, path, [], host=b"app.example")).name
        for method, path in [
            (b"GET", b"/cb"),
            (b"GET", b"/_login/logout"),
            (b"POST", b"/_login/logout"),
            (b"POST", b"/_login/backchannel-logout"),
        ]
    }
    assert list(found.values()) == [
        "login:web:callback",
        "login:web:logout",
        "login:web:logout",
        "login:web:backchannel-logout",
    ]
    assert set(plan.own.values()) == {("identity", "logins", "web")}
    target = plan.routes["login:web:callback"].spec.target
    assert (target.kind, target.spec.endpoint) == ("login", "callback")
    elsewhere = plan.table.match(RequestHead(b"GET", b"/cb", [], host=b"other.example"))
    assert not isinstance(elsewhere, RouteResource)


@pytest.mark.parametrize(
    ("uri", "host", "path"),
    [
        ("http://[::1]:8080/cb", b"[::1]", b"/cb"),
        ("http://127.0.0.1:8080/cb", b"127.0.0.1", b"/cb"),
        ("https://app.example", b"app.example", b"/"),
    ],
)
def test_logins_come_back_to_any_host(tree, uri, host, path):
    plan = plan_of(tree(route(auth=BROWSERS), providers=FOUND, logins={"web": login(uri)}))
    assert plan.table.match(RequestHead(b"GET", path, [], host=host)).name == "login:web:callback"


def test_logins_outlive_plans_and_have_their_endpoints_though_no_route_asks_for_them(tree):
    process = Process()
    first = process.reload(tree(providers=FOUND, logins={"web": login()}))
    made = [process.residents.claim(spec) for spec in first.claims if isinstance(spec, LoginParts)]
    assert len(made) == 1
    second = process.reload(tree(route(auth=BROWSERS), providers=FOUND, logins={"web": login()}))
    assert [process.residents.claim(spec) for spec in second.claims if isinstance(spec, LoginParts)] == made
    third = process.reload(
        tree(route(auth=BROWSERS), providers=FOUND, logins={"web": login()}, gateway={"store": "redis://127.0.0.1:1/0"})
    )
    (stored,) = [process.residents.claim(spec) for spec in third.claims if isinstance(spec, LoginParts)]
    assert stored is not made[0]
    assert stored.redis is not None
    process.residents.close()


def test_a_login_that_cannot_be_made_is_called_that(tree):
    broken = tree(route(auth=BROWSERS), providers=FOUND, logins={"web": login(store="redis")})
    known = kinds()
    with pytest.raises(ConfigErrors, match=r"identity\.logins: login web keeps sessions in Redis"):
        draft(gateway_model(known).model_validate(broken), known)


# -- signed statements ------------------------------------------------------------------------------------------------


@pytest.fixture
def assertion(keys):
    return {"issuer": "https://gw.example", "keys": [keys[0]]}


@pytest.mark.parametrize(
    ("settings", "target", "audience"),
    [
        ({}, {"proxy": {"upstream": "blue"}}, ("blue",)),
        (
            {},
            {"proxy": {"split": [{"upstream": "blue", "weight": 1}, {"upstream": "green", "weight": 1}]}},
            ("blue", "green"),
        ),
        ({"assertion": "orders"}, {"proxy": {"upstream": "blue"}}, ("orders",)),
        ({"assertion": "off"}, {"proxy": {"upstream": "blue"}}, ()),
        ({}, {"fixed": {}}, ()),
        ({"assertion": "orders"}, {"fixed": {}}, ("orders",)),
    ],
)
def test_statements_are_for_those_who_get_the_request(tree, assertion, settings, target, audience):
    auth = {"any": [{"jwt": {"provider": "corp"}}], **settings}
    guard = guard_of(plan_of(tree(route(auth=auth, target=target), route("other"), assertion=assertion)))
    assert guard._audience == audience
    assert (guard._signer is None) == (audience == ())


def test_without_assertion_nothing_is_signed(tree):
    plan = plan_of(tree(route()))
    assert guard_of(plan)._signer is None
    assert plan.own == {}


def test_the_key_set_has_a_route_that_nobody_has_written(tree, assertion):
    plan = plan_of(tree(route(), assertion=assertion))
    own = plan.routes["identity:keys"]
    assert plan.own == {"identity:keys": ("identity", "assertion", "jwks-path")}
    found = plan.table.match(RequestHead(b"GET", b"/.well-known/suuupra-identity.json", [], host=b"any.example"))
    assert found is own
    exchange = MemoryExchange(RequestHead(b"GET", b"/", []))
    own.render(exchange)
    assert exchange.answer.status == 200
    assert exchange.answer.get(b"content-type") == b"application/jwk-set+json"
    assert exchange.answer.get(b"cache-control") == b"public, max-age=300"
    assert [key["alg"] for key in json.loads(exchange.sent)["keys"]] == ["ES256"]


def test_no_route_of_the_configuration_takes_the_key_set_away(tree, assertion):
    everything = {**route("everything", prefix="/"), "priority": 999}
    plan = plan_of(tree(everything, assertion=assertion))
    assert plan.table.match(RequestHead(b"GET", b"/.well-known/suuupra-identity.json", [])).name == "identity:keys"


def test_a_route_in_the_place_of_the_key_set_is_refused(tree, assertion):
    with pytest.raises(ConfigErrors, match="mine is never reached: identity:keys takes all of its requests"):
        plan_of(tree(route("mine", path="/.well-known/suuupra-identity.json", methods=["GET"]), assertion=assertion))


def test_a_route_that_would_take_its_place_is_refused_at_either(tree, assertion):
    mine = {**route("mine", path="/.well-known/suuupra-identity.json", methods=["GET"]), "priority": 1000}
    with pytest.raises(ConfigErrors, match="identity:keys and mine match the same requests"):
        plan_of(tree(mine, assertion=assertion))


def test_the_key_set_is_shown_nowhere_on_purpose(tree, assertion):
    assert plan_of(tree(route(), assertion={**assertion, "jwks-path": ""})).own == {}


def test_keys_that_sign_are_read_before_anybody_serves(tree, assertion, keys):
    broken = tree(route(), assertion={**assertion, "keys": [keys[1]]})
    with pytest.raises(ConfigErrors, match="holds no private"):
        plan_of(broken)
    known = kinds()
    config = gateway_model(known).model_validate(broken)
    with pytest.raises(ConfigErrors, match=r"identity\.assertion\.keys: .*holds no private key in PEM") as caught:
        draft(config, known)
    assert len(str(caught.value).splitlines()) == 1


def test_routes_that_nobody_has_written_are_listed_with_what_needs_them(tree, assertion, tmp_path, capsys):
    file = tmp_path / "gateway.yaml"
    file.write_text(
        json.dumps(tree(route(auth=BROWSERS), providers=FOUND, logins={"web": login()}, assertion=assertion))
    )
    assert main(["routes", str(file)]) == 0
    listed = {line.split()[0]: line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]}
    assert listed.keys() == {
        "r",
        "identity:keys",
        "login:web:callback",
        "login:web:logout",
        "login:web:backchannel-logout",
    }
    assert listed["login:web:callback"] == "login"
    assert main(["routes", "--json", str(file)]) == 0
    described = {each["route"]: each for each in json.loads(capsys.readouterr().out)}
    assert described["login:web:logout"]["target"] == {"login": {"name": "web", "endpoint": "logout"}}
    assert described["identity:keys"]["where"].startswith(str(file))
