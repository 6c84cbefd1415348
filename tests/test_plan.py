"""From configuration to plan: what is compiled, what is claimed, and what is refused, all of it at once."""

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from suuupra_gateway.config.decode import decode, gateway_model
from suuupra_gateway.config.findings import ConfigErrors
from suuupra_gateway.config.model import UpstreamSpec
from suuupra_gateway.config.source import Document
from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec
from suuupra_gateway.filters.catalog import kinds
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.plan import compile_plan, compiling, draft
from suuupra_gateway.residents import Residents
from suuupra_gateway.targets.fixed import FixedResource, RedirectResource
from suuupra_gateway.targets.proxy import ProxyResource
from suuupra_gateway.upstreams.upstream import Upstream

UPSTREAMS = {"users": {"endpoints": ["http://127.0.0.1:9001"]}, "next": {"endpoints": ["http://127.0.0.1:9002"]}}


class Wanting(FilterSpec):
    """A spec of something live."""

    size: int = 1


class Keeper(Filter[Wanting]):
    """Claims something live."""

    def __init__(self, spec, residents):
        super().__init__(spec, residents)
        self.kept = residents.claim(spec)


class Failing(Filter[Wanting]):
    """Cannot be made."""

    def __init__(self, spec, residents):
        raise KeyError("a bug")


class Picky(Filter[Wanting]):
    """Never content."""

    def problems(self, route, parameters):
        yield f"not on {route.name} with {', '.join(sorted(parameters))}"


KINDS = {
    **kinds(),
    **{
        name: FilterKind(name, Wanting, kind)
        for name, kind in [("keeper", Keeper), ("failing", Failing), ("picky", Picky)]
    },
}

ROOT = Resource()


def make_root():
    return Resource()


def make_nonsense():
    return 7


def fixed(name, **more):
    return {"name": name, "auth": "none", "target": {"fixed": {}}, "match": {"path": f"/{name}"}, **more}


def proxy(name, **target):
    return fixed(name, target={"proxy": target})


def config_of(*routes, upstreams=UPSTREAMS, **more):
    listeners = [{"name": "a", "address": "127.0.0.1:0"}]
    document = Document.from_tree({"listeners": listeners, "upstreams": upstreams, "routes": list(routes), **more})
    return decode(document, KINDS)


def plan_of(*routes, **more):
    return draft(config_of(*routes, **more), KINDS)


def errors_of(*routes, **more):
    with pytest.raises(ConfigErrors) as caught:
        plan_of(*routes, **more)
    return [f"{error.path}: {error.why}" for error in caught.value.errors]


def test_every_route_is_compiled_with_its_target():
    plan = plan_of(
        fixed("a"), fixed("b", target={"redirect": {"to": "/x"}}), proxy("c", upstream="users"),
        fixed("d", target={"mount": {"resource": "tests.test_plan:ROOT"}}),
    )  # fmt: skip
    assert list(plan.routes) == ["a", "b", "c", "d"]
    kinds_of_targets = [type(route.target) for route in plan.routes.values()]
    assert kinds_of_targets[:3] == [FixedResource, RedirectResource, ProxyResource]
    assert kinds_of_targets[3].__name__ == "MountResource"


def test_the_table_finds_the_compiled_routes():
    from suuupra_gateway.testing import request

    plan = plan_of(fixed("a"), fixed("b"))
    assert plan.table.match(request("GET /b").head) is plan.routes["b"]


def test_filters_are_made_from_their_settings_and_know_their_name():
    plan = plan_of(fixed("a", filters=[{"headers": {"request": {"set": {"X": "1"}}}}, {"access": {"deny": ["::1"]}}]))
    assert [each.name for each in plan.routes["a"].filters] == ["access", "headers"]


def test_upstreams_and_what_filters_want_are_claimed():
    clock = Clock()
    sweep = Sweep(clock, monotonic=clock.seconds)
    residents = Residents()
    residents.register(UpstreamSpec, lambda spec: Upstream(spec, clock, sweep))
    residents.register(Wanting, lambda spec: object())
    config = config_of(fixed("a", filters=[{"keeper": {"size": 2}}]), proxy("b", upstream="users"))
    plans = [compile_plan(config, residents, kinds=KINDS, reactor=clock, sweep=sweep) for _ in range(2)]
    assert [type(spec) for spec in plans[0].claims] == [UpstreamSpec, UpstreamSpec, Wanting]
    assert plans[0].upstreams["users"] is plans[1].upstreams["users"]
    assert plans[0].routes["a"].filters[0].kept is plans[1].routes["a"].filters[0].kept
    assert plans[0].routes["a"] is not plans[1].routes["a"]


def test_compiling_pauses_between_routes_and_carries_its_marks():
    clock = Clock()
    config = config_of(*(fixed(f"r{number}") for number in range(20)), upstreams={})
    steps = compiling(config, Residents(), kinds=KINDS, reactor=clock, sweep=Sweep(clock), generation=7, digest="abc")
    pauses = 0
    while True:
        try:
            next(steps)
            pauses += 1
        except StopIteration as stop:
            plan = stop.value
            break
    assert pauses >= 20
    assert (plan.generation, plan.digest, plan.config) == (7, "abc", config)


def test_a_draft_opens_nothing_and_starts_nothing():
    plan = plan_of(proxy("a", upstream="users"))
    assert (plan.generation, plan.upstreams["users"].active) == (0, 0)


@pytest.mark.parametrize(
    ("target", "total"),
    [
        ({"upstream": "users"}, 15.0),
        ({"upstream": "users", "timeouts": {"total": "20s"}}, 20.0),
        ({"upstream": "slow"}, 60.0),
        ({"split": [{"upstream": "users", "weight": 1}, {"upstream": "slow", "weight": 1}]}, 60.0),
        ({"split": [{"upstream": "endless", "weight": 1}, {"upstream": "slow", "weight": 1}]}, 0.0),
    ],
)
def test_a_route_lasts_as_long_as_the_most_patient_of_its_upstreams(target, total):
    upstreams = {
        **UPSTREAMS,
        "slow": {"endpoints": ["http://127.0.0.1:9003"], "timeouts": {"total": "60s"}},
        "endless": {"endpoints": ["http://127.0.0.1:9004"], "timeouts": {"total": "0"}},
    }
    from suuupra_gateway.testing import request

    route = plan_of(proxy("a", **target), upstreams=upstreams).routes["a"]
    route.target = FixedResource(config_of(fixed("x")).routes[0].target.fixed)
    exchange = request("GET /a")
    exchange.arrived = 100.0
    route.render(exchange)
    assert exchange.deadline == (100.0 + total if total else float("inf"))


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_match_that_means_nothing():
    assert errors_of(fixed("a", match={"regex": "("}), fixed("b", match={"path": "/{x}/{x}"})) == [
        "routes[0].match.regex (a): not an RE2 expression: missing ): (",
        "routes[1].match.path (b): the parameter x is there twice",
    ]


def test_conditions_that_mean_nothing_are_placed_at_their_key():
    assert errors_of(fixed("a", match={"headers": {"X-Y": "~("}})) == [
        "routes[0].match.headers.X-Y (a): not an RE2 expression: missing ): ("
    ]


def test_routes_that_tie_or_cannot_be_reached():
    tie = fixed("b", match={"path": "/a"})
    below = [fixed("c", match={"prefix": "/p"}, priority=1), fixed("d", match={"path": "/p/x"})]
    found = errors_of(fixed("a"), tie, *below)
    assert found[0].startswith("routes[1].match (b): a and b match the same requests with the same priority")
    assert found[1].startswith("routes[3].match (d): d is never reached: c takes all of its requests")


def test_a_route_that_cannot_be_reached_may_be_allowed():
    below = [fixed("c", match={"prefix": "/p"}, priority=1), fixed("d", match={"path": "/p/x"})]
    assert plan_of(below[0], {**below[1], "allow-shadowed": True}).routes["d"]


def test_filters_that_cannot_be_made_or_do_not_fit():
    filters = [{"failing": {}}, {"picky": {}}, {"keeper": {}}, {"rewrite": {"path": "/{y}"}}]
    assert errors_of(fixed("a", match={"path": "/{x}/{rest*}"}, filters=filters)) == [
        "routes[0].filters[0].failing (a): the filter cannot be made: KeyError: 'a bug'",
        "routes[0].filters[1].picky (a): not on a with rest, x",
        "routes[0].filters[2].keeper (a): the filter cannot be made: "
        "LookupError: nothing in this process can be claimed for a Wanting",
        "routes[0].filters[3].rewrite (a): {y} in '/{y}' is no parameter of this route's match",
    ]


@pytest.mark.parametrize(
    ("edits", "place", "name"),
    [
        ({"set": {"X-User-Id": "root"}}, "set.X-User-Id", "X-User-Id"),
        ({"add": {"x_auth.level": "9"}}, "add.x_auth.level", "x_auth.level"),
        ({"remove": ["X-User-Id"]}, "remove[0]", "X-User-Id"),
        ({"rename": {"X-User-Id": "X-Caller"}}, "rename.X-User-Id", "X-User-Id"),
        ({"rename": {"X-Caller": "X-User-Id"}}, "rename.X-Caller", "X-User-Id"),
    ],
)
def test_filters_leave_to_identity_what_tells_who_is_calling(edits, place, name):
    (found,) = errors_of(fixed("a", filters=[{"headers": {"request": edits}}]))
    assert found == (
        f"routes[0].filters[0].headers.request.{place} (a): "
        f"{name} tells upstreams who is calling, so only identity may set it"
    )
    gateway = {"identity-headers": ["X-Other"]}
    assert plan_of(fixed("a", filters=[{"headers": {"request": edits}}]), gateway=gateway)


def test_answers_may_tell_who_was_calling():
    assert plan_of(fixed("a", filters=[{"headers": {"response": {"set": {"X-User-Id": "7"}}}}]))


def test_a_redirect_to_what_the_route_does_not_know():
    assert errors_of(
        fixed("a", target={"redirect": {"to": "/{y}{z}"}}), fixed("b", target={"redirect": {"to": "/{"}})
    ) == [
        "routes[0].target.redirect.to (a): {y} is no parameter of this route's match",
        "routes[0].target.redirect.to (a): {z} is no parameter of this route's match",
        "routes[1].target.redirect (b): '/{' holds what may not stand in a URI: "
        "write such characters as %XX, placeholders as {name}",
    ]


@pytest.mark.parametrize(
    ("resource", "why"),
    [
        ("tests.test_plan:nothing", "AttributeError: module 'tests.test_plan' has no attribute 'nothing'"),
        ("nowhere_to_be_found:x", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        (
            "tests.test_plan:make_nonsense",
            "tests.test_plan:make_nonsense is no resource: int does not provide IResource",
        ),
    ],
)
def test_a_mount_of_what_is_no_resource(resource, why):
    assert errors_of(fixed("a", target={"mount": {"resource": resource}})) == [f"routes[0].target.mount (a): {why}"]


def test_a_mount_may_name_what_makes_the_resource():
    assert plan_of(fixed("a", target={"mount": {"resource": "tests.test_plan:make_root"}})).routes["a"]


def test_an_upstream_that_cannot_be_made_is_found_once(tmp_path):
    bad = tmp_path / "ca.pem"
    bad.write_text("no certificate")
    upstreams = {"users": {"endpoints": ["https://127.0.0.1:9001"], "tls": {"ca-file": str(bad)}}}
    (found,) = errors_of(proxy("a", upstream="users"), upstreams=upstreams)
    assert found.startswith("upstreams.users: ")
    assert str(bad) in found


def test_an_upstream_that_is_not_there():
    """`decode` finds it first; a configuration made in Python gets no such check."""
    tree = {"listeners": [{"name": "a", "address": "127.0.0.1:0"}], "routes": [proxy("a", upstream="nobody")]}
    with pytest.raises(ConfigErrors, match=r"routes\[0\].target.proxy \(a\): there is no upstream called nobody"):
        draft(gateway_model(KINDS).model_validate(tree), KINDS)


def test_places_come_from_the_document(tmp_path):
    from suuupra_gateway.config.source import load
    from suuupra_gateway.trace import examine

    file = tmp_path / "gateway.yaml"
    file.write_text(
        "listeners: [{name: a, address: '127.0.0.1:0'}]\n"
        "routes:\n"
        "  - name: a\n"
        "    match:\n"
        "      regex: (\n"
        "    auth: none\n"
        "    target: {fixed: {}}\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        examine(load(file))
    assert str(caught.value) == f"{file}:5:14: routes[0].match.regex (a): not an RE2 expression: missing ): ("
