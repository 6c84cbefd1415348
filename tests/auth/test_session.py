"""Sessions and the tickets by which they are shown."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.auth.session import Session, Ticket, Tokens, principal_of, tags_of, who
from suuupra_gateway.config.model import ClaimNames

SESSION = Session("id-1", "alice", {"sub": "alice", "roles": ["clerk"]}, 100.0, 900.0, sid="s", scopes="a b")
TOKENS = Tokens("access", "refresh", "id", 100.0, 200.0)


def test_a_session_comes_back_as_it_was():
    for session in (SESSION, msgspec.structs.replace(SESSION, tokens=TOKENS)):
        assert Session.decode(session.encode()) == session


def test_what_is_no_session_is_refused():
    for data in (b"", b"{}", b"[]", b'{"id": 1}'):
        with pytest.raises(ValueError, match="no session"):
            Session.decode(data)


def test_access_tokens_are_due_before_they_end():
    assert TOKENS.due == 180.0


def test_tickets_are_never_the_same_and_come_back():
    tickets = [Ticket.new() for _ in range(100)]
    assert len({ticket.id for ticket in tickets}) == len({ticket.secret for ticket in tickets}) == 100
    for ticket in tickets:
        assert Ticket.parse(ticket.value) == ticket


def test_the_secret_of_a_ticket_is_not_shown():
    ticket = Ticket.new()
    assert repr(ticket) == f"<Ticket {ticket.id}>"


@given(st.binary(max_size=60))
def test_anything_else_is_no_ticket(value):
    assert Ticket.parse(value) is None


def test_every_changed_byte_makes_another_ticket_or_none():
    ticket = Ticket.new()
    for place in range(len(ticket.value)):
        for byte in b"A.-_z9=\x00":
            changed = bytearray(ticket.value)
            if changed[place] != byte:
                changed[place] = byte
                assert Ticket.parse(bytes(changed)) != ticket


def test_claims_about_the_token_are_left_out():
    assert who({"sub": "a", "nonce": "n", "aud": "x", "exp": 1, "at_hash": "h", "email": "e"}) == {
        "sub": "a",
        "email": "e",
    }


def test_tags_name_what_a_session_can_be_revoked_by():
    assert tags_of("shop", "idp", "alice", "s", "i") == (
        "session:i",
        "sid:shop:s",
        "subject:shop:alice",
        "subject:idp:alice",
    )
    assert tags_of("shop", "shop", "alice") == ("subject:shop:alice",)
    assert tags_of("shop", "idp", "") == ()


def test_a_principal_knows_who_how_long_and_what_for():
    made = principal_of(SESSION, ClaimNames(), "shop", "idp")
    assert (made.subject, made.credential, made.provider, made.key) == ("alice", "session", "shop", "id-1")
    assert (made.scopes, made.roles, made.expires) == ({"a", "b"}, {"clerk"}, 900.0)
    assert len(set(made.tags)) == len(made.tags) == 4


def test_a_principal_is_called_as_the_configuration_says():
    session = msgspec.structs.replace(SESSION, claims={"sub": "1", "email": "a@b", "scope": "own"})
    made = principal_of(session, ClaimNames(subject="email"), "shop", "idp")
    assert (made.subject, made.scopes) == ("a@b", {"own"})
    assert {"subject:shop:a@b", "subject:shop:alice", "subject:idp:alice"} <= set(made.tags)
    assert principal_of(session, ClaimNames(scopes="other"), "shop", "idp").scopes == frozenset()


def test_a_session_that_does_not_say_who_is_nobody():
    with pytest.raises(ValueError, match="email"):
        principal_of(SESSION, ClaimNames(subject="email"), "shop", "idp")
