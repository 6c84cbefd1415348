"""What a route asks of its callers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.auth.requirements import Requirements
from suuupra_gateway.config.model import AuthSpec


def requirements(**settings):
    return Requirements(AuthSpec.model_validate({"any": [{"jwt": {"provider": "p"}}], **settings}))


def somebody(scopes="", roles="", **claims):
    return Principal("s", "jwt", scopes=frozenset(scopes.split()), roles=frozenset(roles.split()), claims=claims)


def reason(made, principal):
    unmet = made.unmet(principal)
    return unmet.reason if unmet is not None else ""


def test_who_asks_for_nothing_gets_everybody():
    assert requirements().unmet(somebody()) is None


@pytest.mark.parametrize(
    ("wanted", "have", "told"),
    [
        ({"all": ["a", "b"]}, "a b c", None),
        ({"all": ["a", "b"]}, "a", "a b"),
        ({"any": ["a", "b"]}, "b", None),
        ({"any": ["a", "b"]}, "c", "a b"),
        ({"all": ["a"], "any": ["b", "c"]}, "a b", None),
        ({"all": ["a"], "any": ["b", "c"]}, "a", "a b c"),
        ({"all": ["a"], "any": ["b", "c"]}, "b", "a"),
        ({"all": ["a"], "any": ["b", "c"]}, "", "a b c"),
        ({"all": ["A"]}, "a", "A"),
    ],
)
def test_scopes_are_all_or_any_of_some_and_what_would_do_is_told(wanted, have, told):
    unmet = requirements(scopes=wanted).unmet(somebody(have))
    assert (unmet.scope if unmet is not None else None) == told
    if unmet is not None:
        assert unmet.reason == "insufficient_scope"


@pytest.mark.parametrize(
    ("wanted", "have", "expected"),
    [
        ({"all": ["a"]}, "a", ""),
        ({"all": ["a", "b"]}, "a", "missing_role"),
        ({"any": ["a", "b"]}, "b", ""),
        ({"any": ["a", "b"]}, "", "missing_role"),
    ],
)
def test_roles_are_all_or_any_of_some(wanted, have, expected):
    assert reason(requirements(roles=wanted), somebody(roles=have)) == expected


def test_a_scope_is_no_role_and_no_claim():
    assert reason(requirements(roles={"all": ["a"]}), somebody("a", a=True)) == "missing_role"
    assert reason(requirements(scopes={"all": ["a"]}), somebody(roles="a", a=True)) == "insufficient_scope"


@pytest.mark.parametrize(
    ("wanted", "value", "good"),
    [
        ({"equals": "x"}, "x", True),
        ({"equals": "x"}, "X", False),
        ({"equals": "x"}, ["w", "x"], True),
        ({"equals": "x"}, {"x": 1}, False),
        ({"equals": 1}, 1, True),
        ({"equals": 1}, 1.0, True),
        ({"equals": 1}, True, False),
        ({"equals": 1}, "1", False),
        ({"equals": True}, True, True),
        ({"equals": True}, 1, False),
        ({"equals": False}, 0, False),
        ({"equals": "x"}, None, False),
        ({"in": ["x", 2]}, "x", True),
        ({"in": ["x", 2]}, [1, 2], True),
        ({"in": ["x", 2]}, "y", False),
        ({"in": [1]}, True, False),
        ({"exists": True}, "", True),
        ({"exists": True}, False, True),
        ({"exists": True}, None, False),
        ({"exists": False}, None, True),
        ({"exists": False}, 0, False),
        ({"pattern": "a+"}, "aaa", True),
        ({"pattern": "a+"}, "baaa", False),
        ({"pattern": "a+"}, "aaa\n", False),
        ({"pattern": "a+"}, ["b", "a"], True),
        ({"pattern": "[0-9]"}, 7, False),
        ({"pattern": "a*"}, "a" * 5000, False),
        ({"pattern": "a.*", "in": ["ab", "ac"]}, "ab", True),
        ({"pattern": "a.*", "in": ["ab", "b"]}, "b", False),
    ],
)
def test_a_claim_is_as_it_must_be(wanted, value, good):
    made = requirements(claims={"c": wanted})
    assert reason(made, somebody(**({} if value is None else {"c": value}))) == ("" if good else "claim_mismatch")


def test_claims_lie_inside_of_objects():
    made = requirements(claims={"org.team": {"equals": "red"}})
    assert made.unmet(somebody(org={"team": "red"})) is None
    assert made.unmet(somebody(**{"org.team": "red"})) is None
    assert reason(made, somebody(org={"team": "blue"})) == "claim_mismatch"
    assert reason(made, somebody(org="team")) == "claim_mismatch"


def test_every_claim_must_be_as_it_must():
    made = requirements(claims={"a": {"exists": True}, "b": {"equals": 1}})
    assert made.unmet(somebody(a=0, b=1)) is None
    assert "b" in made.unmet(somebody(a=0, b=2)).detail


def test_details_name_what_is_lacking_and_never_what_somebody_has():
    unmet = requirements(claims={"mail": {"equals": "a@x"}}).unmet(somebody(mail="secret@y"))
    assert "secret" not in unmet.detail


@pytest.mark.parametrize("scope", ["a b", 'a"b', "a\\b", "", "a\r\nb", "\u00e4"])
def test_what_is_no_scope_cannot_be_asked_for(scope):
    """RFC 6749 section 3.3: it is quoted in answers."""
    with pytest.raises(ValueError, match="no scope"):
        requirements(scopes={"any": [scope]})


def test_patterns_take_linear_time_or_are_none():
    with pytest.raises(ValueError, match="pattern of claim c is no RE2"):
        requirements(claims={"c": {"pattern": r"(a)\1"}})


names = st.frozensets(st.sampled_from("abcd"))


@given(names, names, names)
def test_more_scopes_never_shut_anybody_out(have, more, wanted):
    made = requirements(scopes={"all": sorted(wanted)})
    less = made.unmet(Principal("s", "jwt", scopes=have))
    assert (less is None) == (wanted <= have)
    if less is None:
        assert made.unmet(Principal("s", "jwt", scopes=have | more)) is None
