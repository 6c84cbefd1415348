"""Filter headers: edits of requests, answers and replies."""

import pytest
from pydantic import ValidationError

from suuupra_gateway.filters.headers import kind
from suuupra_gateway.http.message import Reply
from tests.filters.running import answered, exchange, made


def test_set_leaves_exactly_one_field_whatever_came():
    seen = exchange("GET /", ("X-Team", "evil"), ("x-team", "worse"), ("Accept", "*/*"))
    assert made(kind, request={"set": {"X-Team": "platform"}}).request(seen) is None
    assert seen.head.headers == [(b"host", b"localhost"), (b"accept", b"*/*"), (b"x-team", b"platform")]


def test_add_keeps_what_came():
    seen = exchange("GET /", ("X-Team", "theirs"))
    made(kind, request={"add": {"X-Team": "ours"}}).request(seen)
    assert seen.head.headers[1:] == [(b"x-team", b"theirs"), (b"x-team", b"ours")]


def test_remove_drops_all_fields_of_the_name():
    seen = exchange("GET /", ("X-Debug", "1"), ("X-DEBUG", "2"), ("Accept", "*/*"))
    made(kind, request={"remove": ["x-debug"]}).request(seen)
    assert seen.head.headers[1:] == [(b"accept", b"*/*")]


def test_rename_keeps_values_and_order():
    seen = exchange("GET /", ("X-Old", "1"), ("Accept", "*/*"), ("X-Old", "2"))
    made(kind, request={"rename": {"X-Old": "X-New"}}).request(seen)
    assert seen.head.headers[1:] == [(b"x-new", b"1"), (b"accept", b"*/*"), (b"x-new", b"2")]


def test_removal_goes_before_renaming_and_setting_goes_last():
    seen = exchange("GET /", ("A", "1"), ("B", "2"))
    made(kind, request={"remove": ["A"], "rename": {"B": "A"}, "add": {"B": "3"}}).request(seen)
    assert seen.head.headers[1:] == [(b"a", b"2"), (b"b", b"3")]


def test_a_field_renamed_to_one_that_is_set_gives_way():
    seen = exchange("GET /", ("X-Old", "theirs"))
    made(kind, request={"rename": {"X-Old": "X-New"}, "set": {"X-New": "ours"}}).request(seen)
    assert seen.head.headers[1:] == [(b"x-new", b"ours")]


def test_answers_are_edited():
    head = answered((b"server", b"x"), (b"content-type", b"text/plain"))
    edit = made(kind, response={"remove": ["Server"], "set": {"X-Frame-Options": "DENY"}})
    assert edit.response(exchange(), head) is None
    assert head.headers == [(b"content-type", b"text/plain"), (b"x-frame-options", b"DENY")]


def test_replies_are_edited_too():
    seen = exchange()
    edit = made(kind, response={"set": {"Strict-Transport-Security": "max-age=1"}})
    head = answered()
    edit.reply(seen, head)
    assert head.headers == [(b"strict-transport-security", b"max-age=1")]


def test_the_original_list_is_edited_in_place():
    seen = exchange("GET /", ("X-A", "1"))
    fields = seen.head.headers
    made(kind, request={"remove": ["X-A"], "add": {"B": "2"}}).request(seen)
    assert seen.head.headers is fields


def test_a_set_of_edits_can_be_used_again():
    edit = made(kind, request={"add": {"X-A": "1"}})
    for _ in range(2):
        seen = exchange()
        edit.request(seen)
        assert seen.head.headers[1:] == [(b"x-a", b"1")]


@pytest.mark.parametrize(
    "name", ["Connection", "transfer-encoding", "Content-Length", "Host", "upgrade", "X Y", "", "a:b"]
)
@pytest.mark.parametrize("edit", ["set", "remove", "rename", "add"])
def test_names_that_are_not_for_filters_are_refused(edit, name):
    value = [name] if edit == "remove" else {name: "X"}
    with pytest.raises(ValidationError):
        made(kind, request={edit: value})


def test_the_new_name_of_a_renamed_field_is_checked_too():
    with pytest.raises(ValidationError, match="gateway's to set"):
        made(kind, response={"rename": {"X": "Connection"}})


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\x00", " padded", "padded\t", "€"])
def test_values_that_no_field_may_hold_are_refused(value):
    with pytest.raises(ValidationError, match="X"):
        made(kind, request={"set": {"X": value}})


def test_values_may_be_latin_1():
    seen = exchange()
    made(kind, request={"set": {"X": "é"}}).request(seen)
    assert seen.head.get(b"x") == b"\xe9"


def test_all_fields_of_the_request_that_are_edited_are_told_with_their_places():
    edits = {"remove": ["A"], "rename": {"B": "C"}, "set": {"D": "1"}, "add": {"E": "2"}}
    assert list(made(kind, request=edits, response={"set": {"X-User-Id": "7"}}).edits()) == [
        (("request", "remove", 0), "A"),
        (("request", "rename", "B"), "B"),
        (("request", "rename", "B"), "C"),
        (("request", "set", "D"), "D"),
        (("request", "add", "E"), "E"),
    ]


def test_explain_tells_the_changes_of_the_answer():
    edit = made(kind, response={"remove": ["A"], "rename": {"B": "C"}, "set": {"D": "1"}, "add": {"E": "2"}})
    assert edit.explain(exchange()) == "on the answer: remove A, rename B to C, set D, add E"


def test_explain_says_nothing_when_the_answer_stays_as_it_is():
    assert made(kind, request={"set": {"X": "1"}}).explain(exchange()) == ""


def test_a_reply_of_a_route_is_not_edited_by_the_request_half():
    seen = exchange()
    made(kind, request={"set": {"X": "1"}}).reply(seen, head := answered())
    assert head.headers == []
    seen.respond(Reply(204))
    assert seen.answer is not None
