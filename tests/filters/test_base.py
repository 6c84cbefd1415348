"""What a filter does that overrides nothing, and what all shipped filters promise."""

import pytest

from suuupra_gateway.config.model import RouteSpec
from suuupra_gateway.filters.base import Filter, FilterSpec, Phase
from suuupra_gateway.filters.catalog import kinds
from tests.filters.running import answered, exchange

PLAIN = Filter(FilterSpec(), None)


def test_a_filter_that_overrides_nothing_does_nothing():
    seen, head = exchange(), answered()
    assert PLAIN.request(seen) is None
    assert PLAIN.response(seen, head) is None
    assert PLAIN.transform(seen, head) is None
    assert (PLAIN.reply(seen, head), PLAIN.done(seen)) == (None, None)
    assert PLAIN.explain(seen) == ""
    route = RouteSpec.model_validate({"name": "r", "target": {"fixed": {}}})
    assert list(PLAIN.problems(route, frozenset())) == list(PLAIN.edits()) == []
    assert (head.status, head.headers, seen.answer) == (200, [], None)


def test_phases_run_in_the_documented_order():
    assert [phase.name for phase in sorted(Phase)] == [
        "PREFLIGHT",
        "ACCESS",
        "GLOBAL_LIMIT",
        "AUTHENTICATE",
        "AUTHORIZE",
        "LIMIT",
        "REQUEST",
        "CACHE",
        "BREAK",
    ]


@pytest.mark.parametrize("kind", kinds().values(), ids=lambda kind: kind.name)
def test_every_filter_says_what_it_does_when_it_fails(kind):
    assert "on_error" in vars(kind.filter)
    assert kind.filter.on_error.endswith(".")


@pytest.mark.parametrize("kind", kinds().values(), ids=lambda kind: kind.name)
def test_every_filter_and_every_option_is_described(kind):
    assert kind.filter.__doc__
    assert kind.spec.__doc__
    fields = [*kind.spec.model_fields.items()]
    assert [name for name, field in fields if not field.description] == []
