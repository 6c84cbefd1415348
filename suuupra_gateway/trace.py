"""
What would become of a request: one pure function of a compiled plan and a probe.

``explain`` shows a `Trace`; route tests compare a few fields of one; `examine` is all that can be known of a configuration
before anybody serves by it.
"""

from __future__ import annotations

from collections.abc import Generator

import attrs

from suuupra_gateway.config.decode import decode
from suuupra_gateway.config.findings import ConfigErrors, Finding, Loc
from suuupra_gateway.config.model import RouteTestSpec
from suuupra_gateway.config.source import Document
from suuupra_gateway.filters.catalog import known
from suuupra_gateway.memory import Probe, pretended
from suuupra_gateway.plan import Plan, draft
from suuupra_gateway.steps import Trace
from suuupra_gateway.walk import Walk


def trace(plan: Plan, probe: Probe) -> Trace:
    """What ``plan`` would do with ``probe``. Has no effects."""
    walk = Walk(plan, probe)
    return walk.trace(*walk.misses())


def examine(document: Document) -> Plan:
    """
    Decode, compile and test a configuration; the plan is a draft, for looking at.

    :raises ConfigErrors: with what is wrong, in its place; of the three steps the first that finds anything.
    """
    kinds = known(document)
    config = decode(document, kinds)
    try:
        plan = draft(config, kinds, digest=document.digest)
    except ConfigErrors as errors:
        raise errors.located(document) from None
    failures = run_tests(plan)
    if failures:
        raise ConfigErrors.at(document, [Finding(failure.loc, str(failure)) for failure in failures])
    return plan


@attrs.frozen
class TestFailure:
    """A route test that did not come out as expected."""

    __test__ = False  # pytest would take it for a test otherwise

    route: str
    """The route beside which the test stands."""

    number: int
    """Which of its tests, from 1."""

    request: str
    why: str
    loc: Loc
    """Of the expectation that was not met, inside the configuration."""

    def __str__(self) -> str:
        return f"route {self.route}, test {self.number}: {self.request}: {self.why}"


def run_tests(plan: Plan) -> list[TestFailure]:
    """Run the tests of all routes; what failed, in file order."""
    steps = running_tests(plan)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            failures: list[TestFailure] = stop.value
            return failures


def running_tests(plan: Plan) -> Generator[None, None, list[TestFailure]]:
    """As `run_tests`, pausing after each test; the failures are what the generator returns."""
    failures: list[TestFailure] = []
    for order, route in enumerate(plan.config.routes):
        for place, test in enumerate(route.tests):
            for expectation, why in _unmet(plan, test):
                request = f"{test.request.method} {test.request.url}"
                loc = ("routes", order, "tests", place, "expect", expectation)
                failures.append(TestFailure(route.name, place + 1, request, why, loc))
            yield
    return failures


def _unmet(plan: Plan, test: RouteTestSpec) -> list[tuple[str, str]]:
    """``(expectation, what came instead)`` for everything that is not as it should be."""
    asked, expect = test.request, test.expect
    principal = pretended(asked.principal) if asked.principal is not None else None
    walk = Walk(plan, Probe(asked.method, asked.url, asked.headers, principal=principal))
    if expect.route is not None:
        got = walk.route.name if walk.route is not None else "none"
        if got != expect.route:
            reason = f" (because {walk.why_not(expect.route)})" if expect.route != "none" else ""
            # All else follows from this.
            return [("route", f"expected route {expect.route}, got {_routed(walk)}{reason}")]
    unmet = []
    if expect.status is not None and (walk.asks or walk.answer is None or walk.answer.status != expect.status):
        unmet.append(("status", f"expected status {expect.status}, got {_ended(walk)}"))
    if expect.upstream is not None and walk.upstream() != expect.upstream:
        unmet.append(("upstream", f"expected upstream {expect.upstream}, got {_ended(walk)}"))
    if expect.path is not None:
        got = walk.forwarded.target if walk.forwarded is not None else _ended(walk)
        if got != expect.path:
            unmet.append(("path", f"expected path {expect.path}, got {got}"))
    if expect.auth is not None:
        got = "no route" if walk.route is None else "auth required" if walk.private else "auth none"
        if got != f"auth {expect.auth}":
            unmet.append(("auth", f"expected auth {expect.auth}, got {got}"))
    return unmet


def _routed(walk: Walk) -> str:
    return walk.route.name if walk.route is not None else f"none but {_ended(walk)}"


def _ended(walk: Walk) -> str:
    """How the walk ended, for people."""
    if walk.asks:
        return f"what {walk.asks} says: give the request a principal"
    if walk.answer is not None:
        code = f" {walk.answer.code}" if walk.answer.code else ""
        return f"{walk.answer.status}{code} from {walk.answer.by}{_why(walk)}"
    upstream = walk.upstream() or " or ".join(branch.upstream for branch in walk.branches())
    if upstream:
        return f"an answer from upstream {upstream}"
    return f"an answer from the {walk.target} target"


def _why(walk: Walk) -> str:
    """What the filter that answered says, if it is one that says why."""
    says = next((step.says for step in walk.steps if step.verdict.startswith("answers")), "")
    if not walk.private or not says:
        return ""
    hint = "" if walk.probe.principal is not None else "; give the request a principal, or a credential"
    return f" ({says}{hint})"
