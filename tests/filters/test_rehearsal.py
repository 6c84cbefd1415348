"""What an authenticating filter would say without asking anybody."""

import pytest

from suuupra_gateway.auth.principal import UNASKED, Cached, Principal, Refused, Undecided
from suuupra_gateway.filters.rehearsal import Glance, Glancing, named, taken, undecided
from suuupra_gateway.http.message import Reply
from tests.filters.running import exchange


class Distant:
    """A credential that others decide about: looking at it must not check it."""

    challenge = b""

    def __init__(self, kind="introspection", provider="opaque", shown=True):
        self.kind, self.provider, self.shown = kind, provider, shown

    def check(self, exchange):
        raise AssertionError("nobody is to be asked")

    def conceal(self, head):
        raise AssertionError("nothing is to be changed")

    def presented(self, head):
        return self.shown


class Near(Distant):
    """A credential that knows by itself."""

    def __init__(self, answer, **more):
        super().__init__(**more)
        self.answer = answer

    def glance(self, exchange):
        return self.answer


ALICE = Principal("alice", "jwt", "corp")


@pytest.mark.parametrize(
    ("answer", "says", "accepted"),
    [
        (None, "not shown", False),
        (ALICE, "accepted", True),
        (Cached(ALICE, "stale", 7.0), "accepted", True),
        (Refused("expired"), "refused, expired", False),
        (Refused("expired", "7 s ago"), "refused, expired: 7 s ago", False),
        (Undecided("no_keys", "none yet"), "cannot be decided, no_keys: none yet", False),
        (Reply(302), "not shown, would be sent to log in", False),
        (Reply(418), "answers 418", False),
    ],
)
def test_what_a_credential_knows_by_itself_is_told(answer, says, accepted):
    glance = Glance.at(Near(answer), exchange())
    assert (glance.found, glance.asks, glance.accepted) == (answer, "", accepted)
    assert glance.says == f"introspection opaque: {says}"


@pytest.mark.parametrize("credential", [Distant(), Near(UNASKED), Near(UNASKED, shown=False)])
def test_whom_to_ask_is_told(credential):
    glance = Glance.at(credential, exchange())
    assert (glance.found, glance.asks, glance.accepted) == (None, "introspection opaque", False)
    assert glance.says == "introspection opaque: introspection opaque would have to be asked"


@pytest.mark.parametrize(
    ("kind", "provider", "asks"),
    [
        ("jwt", "corp", "provider corp"),
        ("api-key", "", "the store of API keys"),
        ("session", "web", "login web"),
        ("forward-auth", "legacy", "forward-auth legacy"),
        ("passport", "", "passport"),
    ],
)
def test_those_who_would_be_asked_are_named(kind, provider, asks):
    assert Glance.at(Distant(kind, provider), exchange()).asks == asks


def test_what_is_not_shown_needs_no_answer():
    glance = Glance.at(Distant(shown=False), exchange())
    assert (glance.found, glance.asks, glance.says) == (None, "", "introspection opaque: not shown")


def test_only_some_credentials_know_something_by_themselves():
    assert isinstance(Near(None), Glancing)
    assert not isinstance(Distant(), Glancing)


def test_credentials_are_called_by_kind_and_provider():
    assert named(Distant("jwt", "corp")) == "jwt corp"
    assert named(Distant("api-key", "")) == "api-key"


YES, NO, ASK = Glance(ALICE, "", ""), Glance(Refused("expired"), "", ""), Glance(None, "far", "")
OTHER = Glance(None, "farther", "")
TWO = Glance(Refused("several_credentials", status=400), "", "")


@pytest.mark.parametrize(
    ("glances", "some", "every"),
    [
        ([YES], "", ""),
        ([NO], "", ""),
        ([ASK], "far", "far"),
        ([NO, ASK], "far", ""),
        ([ASK, NO], "far", ""),
        ([YES, ASK], "", "far"),
        ([ASK, YES], "far", "far"),
        ([TWO, ASK], "", ""),
        ([ASK, TWO], "far", ""),
        ([ASK, OTHER], "far, farther", "far, farther"),
    ],
)
def test_somebody_has_to_be_asked_only_if_it_matters(glances, some, every):
    """
    Of several that would do, the first that is accepted or ambiguous counts; where all must do, one that will not decides.
    """
    assert undecided(glances, False) == some
    assert undecided(glances, True) == every


@pytest.mark.parametrize(
    ("kind", "provider", "place"),
    [
        ("", "", 0),
        ("jwt", "", 0),
        ("api-key", "", 1),
        ("jwt", "partner", 2),
        ("", "partner", 2),
        ("session", "", None),
        ("jwt", "nobody", None),
    ],
)
def test_a_principal_is_known_by_the_first_credential_that_fits(kind, provider, place):
    credentials = [Distant("jwt", "corp"), Distant("api-key", ""), Distant("jwt", "partner")]
    found = taken(credentials, Principal("alice", kind, provider, scopes=frozenset("a")))
    if place is None:
        assert found is None
    else:
        assert found is not None
        assert (found[0], found[1].subject, found[1].scopes) == (place, "alice", {"a"})
        assert (found[1].credential, found[1].provider) == (credentials[place].kind, credentials[place].provider)
