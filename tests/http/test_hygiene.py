"""What passes from the client to the upstream and back, and what the gateway adds."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.config.model import ProcessSpec
from suuupra_gateway.errors import Bug, LoopDetected
from suuupra_gateway.http.hygiene import AnswerNames, Hygiene, head_fields, remove_nominated, tokens
from suuupra_gateway.http.message import FieldBlock, RequestHead
from suuupra_gateway.memory import MemoryExchange

CLIENT = "192.0.2.7"
PROXY = "10.0.0.9"


def hygiene(**process):
    return Hygiene(ProcessSpec.model_validate({"trusted_proxies": ("10.0.0.0/8", "fd00::/8"), **process}))


def exchange(*headers, peer=CLIENT, method=b"GET", path=b"/a", secure=False, **head):
    head.setdefault("authority", b"api.example.org")
    return MemoryExchange(
        RequestHead(method, path, [(b"host", b"api.example.org"), *headers], **head),
        client=peer,
        secure=secure,
        id=b"id-1",
    )


def composed(*headers, rules=None, host=b"", attempt=1, remaining=None, **kwargs):
    raw = (rules or hygiene()).request_head(exchange(*headers, **kwargs), host, attempt, remaining)
    assert raw.endswith(b"\r\n\r\n")
    return head_fields(raw)


def values(fields, name):
    return [value for key, value in fields if key == name]


def names(fields):
    return [name for name, _ in fields]


# -- the request line and what is always there ------------------------------------------------------------------------


def test_a_request_goes_on_with_its_path_its_query_and_what_the_gateway_adds():
    fields = composed((b"accept", b"*/*"), (b"x-a", b"1"), (b"x-a", b"2"), query=b"q=%20", remaining=14.5)
    assert fields == [
        (b"", b"GET /a?q=%20 HTTP/1.1"),
        (b"host", b"api.example.org"),
        (b"accept", b"*/*"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"x-forwarded-for", b"192.0.2.7"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"api.example.org"),
        (b"x-forwarded-port", b"80"),
        (b"via", b"1.1 suuupra"),
        (b"x-request-id", b"id-1"),
        (b"x-request-attempt", b"1"),
        (b"x-request-timeout-ms", b"14500"),
    ]


def test_an_empty_query_keeps_its_question_mark():
    assert composed(query=b"")[0] == (b"", b"GET /a? HTTP/1.1")


def test_the_host_may_be_the_upstreams_own():
    fields = composed(host=b"10.1.1.1:8080")
    assert values(fields, b"host") == [b"10.1.1.1:8080"]
    assert values(fields, b"x-forwarded-host") == [b"api.example.org"]


@pytest.mark.parametrize(
    ("method", "head", "framing"),
    [
        (b"GET", {}, []),
        (b"POST", {}, [(b"content-length", b"0")]),
        (b"POST", {"content_length": 0}, [(b"content-length", b"0")]),
        (b"POST", {"content_length": 12}, [(b"content-length", b"12")]),
        (b"PUT", {"chunked": True}, [(b"transfer-encoding", b"chunked")]),
        (b"GET", {"content_length": 3}, [(b"content-length", b"3")]),
    ],
)
def test_framing_is_made_anew(method, head, framing):
    received = [(b"content-length", b"999"), (b"transfer-encoding", b"gzip"), (b"Content_Length", b"5")]
    fields = composed(*received, method=method, **head)
    assert [
        pair for pair in fields if pair[0].lower() in (b"content-length", b"transfer-encoding", b"content_length")
    ] == framing


def test_the_last_millisecond_is_still_announced():
    assert values(composed(remaining=0.0), b"x-request-timeout-ms") == [b"1"]


def test_no_deadline_is_not_announced():
    assert values(composed(remaining=None), b"x-request-timeout-ms") == []


def test_what_the_gateway_owns_is_not_for_clients_to_say():
    fields = composed(
        (b"x-request-id", b"mine"),
        (b"x-request-attempt", b"9"),
        (b"x-request-timeout-ms", b"1"),
        (b"expect", b"100-continue"),
        attempt=2,
    )
    assert values(fields, b"x-request-id") == [b"id-1"]
    assert values(fields, b"x-request-attempt") == [b"2"]
    assert values(fields, b"x-request-timeout-ms") == []
    assert values(fields, b"expect") == []


def test_the_trace_context_passes_untouched():
    parent = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert parent in composed(parent)


# -- fields of the connection -----------------------------------------------------------------------------------------


def test_fields_of_one_connection_stay_behind():
    fields = composed(
        (b"connection", b"keep-alive, Upgrade, X-Hop"),
        (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"keep-alive"),
        (b"proxy-authorization", b"Basic eDp5"),
        (b"proxy-authenticate", b"Basic"),
        (b"te", b"gzip"),
        (b"trailer", b"X-T"),
        (b"upgrade", b"h2c"),
        (b"http2-settings", b"AAMAAABk"),
        (b"x-end", b"2"),
    )
    assert names(fields)[2:] == [
        b"x-end", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"via", b"x-request-id",
        b"x-request-attempt",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [b"keep-alive", b"Keep-Alive", b"close", b"Close", b"CLOSE", b""])
def test_plain_connection_options_change_nothing(value):
    fields = composed((b"connection", value), (b"close", b"1"), (b"x-a", b"1"))
    assert (b"x-a", b"1") in fields
    assert (b"close", b"1") in fields
    assert values(fields, b"connection") == []


@pytest.mark.parametrize(
    "name",
    [
        b"host",
        b"content-type",
        b"content-length",
        b"authorization",
        b"cookie",
        b"x-forwarded-for",
        b"x-request-id",
        b"via",
    ],
)
def test_a_nomination_cannot_take_what_the_next_hop_depends_upon(name):
    headers = [(name, b"1"), (b"x-hop", b"1")]
    remove_nominated(headers, {name, b"x-hop", b"close"})
    assert headers == [(name, b"1")]


def test_a_nomination_is_none_of_our_business_once_filters_have_run():
    assert (b"x-team", b"platform") in composed((b"connection", b"x-team"), (b"x-team", b"platform"))


def test_te_passes_for_trailers_only():
    fields = composed((b"te", b"gzip;q=0.5, Trailers"))
    assert values(fields, b"te") == [b"trailers"]
    assert values(fields, b"connection") == [b"te"]


# -- forwarding fields ------------------------------------------------------------------------------------------------

FORGED = [
    (b"x-forwarded-for", b"1.1.1.1, 2.2.2.2"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"evil.example"),
    (b"x-forwarded-port", b"1"),
    (b"x-forwarded-prefix", b"/evil"),
    (b"x-forwarded-uri", b"/evil"),
    (b"x-real-ip", b"1.1.1.1"),
    (b"forwarded", b"for=1.1.1.1"),
    (b"X_Forwarded_For", b"3.3.3.3"),
    (b"x_real_ip", b"3.3.3.3"),
]


def test_nothing_that_an_untrusted_peer_says_is_believed_and_a_fresh_set_is_written():
    fields = composed(*FORGED, secure=True, authority=b"api.example.org:8443")
    assert [pair for pair in fields if b"orward" in pair[0] or b"eal" in pair[0]] == [
        (b"x-forwarded-for", b"192.0.2.7"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"api.example.org:8443"),
        (b"x-forwarded-port", b"8443"),
    ]


def test_what_a_trusted_peer_says_is_continued():
    fields = composed(*FORGED, peer=PROXY)
    assert [pair for pair in fields if b"orward" in pair[0] or b"eal" in pair[0]] == [
        (b"x-forwarded-for", b"1.1.1.1, 2.2.2.2, 10.0.0.9"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"evil.example"),
        (b"x-forwarded-port", b"1"),
        (b"x-forwarded-prefix", b"/evil"),
        (b"x-forwarded-uri", b"/evil"),
        (b"x-real-ip", b"1.1.1.1"),
    ]


def test_a_prefix_that_a_rewrite_took_away_is_told_behind_the_one_of_a_trusted_peer():
    made = exchange((b"x-forwarded-prefix", b"/outer"), peer=PROXY)
    made.head.prefix = b"/v1"
    assert values(head_fields(hygiene().request_head(made, b"", 1, None)), b"x-forwarded-prefix") == [b"/outer/v1"]
    made.peer = CLIENT
    assert values(head_fields(hygiene().request_head(made, b"", 1, None)), b"x-forwarded-prefix") == [b"/v1"]


def test_the_peer_of_a_unix_socket_has_no_address_to_tell():
    fields = composed(*FORGED, peer="")
    assert values(fields, b"x-forwarded-for") == []


def test_a_request_without_host_has_none_to_tell():
    fields = composed(host=b"10.1.1.1", authority=b"", version=b"1.0")
    assert values(fields, b"x-forwarded-host") == []
    assert values(fields, b"via") == [b"1.0 suuupra"]


@pytest.mark.parametrize(
    ("authority", "secure", "port"),
    [
        (b"a", False, b"80"),
        (b"a", True, b"443"),
        (b"a:81", True, b"81"),
        (b"[::1]", False, b"80"),
        (b"[::1]:82", False, b"82"),
    ],
)
def test_the_port_is_that_of_the_authority_or_the_schemes_own(authority, secure, port):
    assert values(composed(authority=authority, secure=secure), b"x-forwarded-port") == [port]


@pytest.mark.parametrize(
    ("kwargs", "element"),
    [
        ({}, b'for=192.0.2.7;host="api.example.org";proto=http'),
        ({"peer": "2001:db8::1", "secure": True}, b'for="[2001:db8::1]";host="api.example.org";proto=https'),
        ({"peer": ""}, b'for=unknown;host="api.example.org";proto=http'),
        ({"authority": b'a"b'}, b"for=192.0.2.7;proto=http"),
    ],
)
def test_rfc7239_is_written_instead_when_configured(kwargs, element):
    fields = composed(*FORGED, rules=hygiene(forwarded="rfc7239"), **kwargs)
    assert values(fields, b"forwarded") == [element]
    assert [name for name in names(fields) if name.startswith(b"x-forwarded-")] == []


def test_both_forms_may_be_written_and_a_trusted_element_is_continued():
    fields = composed((b"forwarded", b"for=1.1.1.1"), peer=PROXY, rules=hygiene(forwarded="both"))
    assert values(fields, b"forwarded") == [b'for=1.1.1.1, for=10.0.0.9;host="api.example.org";proto=http']
    assert values(fields, b"x-forwarded-for") == [b"10.0.0.9"]


def test_forwarding_fields_are_remembered_per_peer_and_authority_only():
    rules = hygiene()
    assert values(composed(rules=rules), b"x-forwarded-for") == [b"192.0.2.7"]
    assert values(composed(rules=rules, peer="192.0.2.8"), b"x-forwarded-for") == [b"192.0.2.8"]
    assert values(composed(rules=rules, authority=b"b"), b"x-forwarded-host") == [b"b"]
    assert values(composed(rules=rules, secure=True), b"x-forwarded-proto") == [b"https"]
    assert values(composed((b"via", b"1.0 fred"), rules=rules), b"via") == [b"1.0 fred, 1.1 suuupra"]
    assert values(composed(rules=rules), b"via") == [b"1.1 suuupra"]


def test_what_is_remembered_has_a_bound():
    rules = hygiene()
    for number in range(5000):
        composed((b"x-%d" % number, b""), rules=rules, peer=f"192.0.2.{number}")
    assert len(rules._tails) <= 2048
    assert len(rules._names) <= 2048
    long = b"x" * 2000
    before = len(rules._tails)
    assert values(composed(rules=rules, authority=long), b"x-forwarded-host") == [long]
    assert len(rules._tails) == before
    answers = AnswerNames()
    for number in range(5000):
        assert answers[b"X-%d" % number] == b"x-%d" % number
    assert len(answers) <= 2048


def test_what_is_long_is_not_remembered_wherever_it_stands():
    rules, answers = hygiene(), AnswerNames()
    for peer in (CLIENT, PROXY):
        for name in (b"x-forwarded-a", b"forwarded", b"via", b"te"):
            composed((name, b"a" * 2000), rules=rules, peer=peer)
    assert not rules._tails
    assert values(composed((b"x" * 2000, b"1"), rules=rules), b"x" * 2000) == [b"1"]
    assert answers[b"Y" * 2000] == b"y" * 2000
    assert max(map(len, [*rules._names, *answers])) < 100


@pytest.mark.parametrize(
    "name", [b"proxy", b"transfer_encoding", b"keep.alive", b"content_length", b"proxy_authorization"]
)
def test_what_a_cgi_would_take_for_something_else_stays_behind(name):
    assert not values(composed((name, b"1")), name)
    assert hygiene().clean_trailers([(name, b"1")]) == []


# -- Via --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "via", [b"1.1 suuupra", b"1.0 fred, 1.1 Suuupra (comment)", b"HTTP/1.1 suuupra", b"1.1 a,1.1 suuupra"]
)
def test_a_request_that_passed_here_before_is_a_loop(via):
    with pytest.raises(LoopDetected):
        composed((b"via", via))


def test_others_on_the_way_are_no_loop():
    assert values(composed((b"via", b"1.1 suuupra2, 1.0 fred"), (b"via", b"1.1 x")), b"via") == [
        b"1.1 suuupra2, 1.0 fred, 1.1 x, 1.1 suuupra"
    ]


@pytest.mark.parametrize(
    "via", [b"a" * 32_000, b"a " * 16_000, b" \t" * 16_000 + b"a", b"," * 32_000, b"a,b c" * 6_000]
)
def test_the_longest_via_is_read_in_linear_time(via):
    """What was quadratic here took fifteen seconds of CPU; what is linear takes milliseconds on the slowest machine."""
    start = time.process_time()
    composed((b"via", via))
    assert time.process_time() - start < 3


def test_answers_get_a_via_with_the_version_that_they_came_with():
    assert hygiene(name="edge").via[b"1.0"] == (b"via", b"1.0 edge")


# -- what filters might do wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [b"a\r\nx-evil: 1", b"a\nb", b"a\rb"])
def test_a_line_break_that_a_filter_put_in_never_reaches_an_upstream(bad):
    with pytest.raises(Bug):
        composed((b"x-a", bad))
    with pytest.raises(Bug):
        composed((bad, b"1"))
    with pytest.raises(Bug):
        composed(path=bad)
    with pytest.raises(Bug):
        composed(host=b"h", authority=bad)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"connection", b"te", b"via", b"x-forwarded-for", b"x-a", b"x-user-id", b"forwarded", b"cookie"]
            ),
            st.text("ab1.,;= \t-", max_size=12).map(str.encode),
        ),
        max_size=8,
    ),
    st.sampled_from([CLIENT, PROXY, ""]),
)
def test_whatever_comes_one_unambiguous_head_goes_out(headers, peer):
    rules = hygiene()
    first = rules.request_head(exchange(*headers, peer=peer), b"", 1, 1.0)
    again = rules.request_head(exchange(*headers, peer=peer), b"", 1, 1.0)
    assert first == again
    fields = head_fields(first)
    for name in (b"host", b"via", b"x-request-id", b"x-request-attempt"):
        assert len(values(fields, name)) == 1
    assert first.count(b"\r\n\r\n") == 1
    if peer == CLIENT:
        assert values(fields, b"x-forwarded-for") == [CLIENT.encode()]


# -- from gateways before us ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "value", "retried"),
    [(PROXY, b"2", True), (PROXY, b"1", False), (PROXY, b"x", True), (CLIENT, b"2", False)],
)
def test_only_a_trusted_gateway_may_say_that_it_has_retried(peer, value, retried):
    assert hygiene().already_retried(exchange((b"x-request-attempt", value), peer=peer)) is retried


def test_nobody_says_that_they_have_retried():
    assert not hygiene().already_retried(exchange(peer=PROXY))


@pytest.mark.parametrize(
    ("peer", "value", "seconds"),
    [
        (PROXY, b"1500", 1.5),
        (PROXY, b"-1", None),
        (PROXY, b"9" * 10, None),
        (CLIENT, b"1500", None),
        (PROXY, None, None),
    ],
)
def test_only_a_trusted_gateway_may_set_a_deadline(peer, value, seconds):
    headers = [] if value is None else [(b"x-request-timeout-ms", value)]
    assert hygiene().patience(exchange(*headers, peer=peer)) == seconds


# -- trailers ---------------------------------------------------------------------------------------------------------


def test_trailers_pass_unless_they_steer_something():
    passed = [(b"grpc-status", b"0"), (b"x-checksum", b"abc")]
    refused = [
        b"content-length", b"transfer-encoding", b"host", b"connection", b"authorization", b"cookie", b"set-cookie", b"te",
        b"x-user-id", b"x_user_id", b"x-auth-role", b"x-forwarded-for", b"X_Forwarded_For", b"content-type", b"via",
        b"x-request-id",
    ]  # fmt: skip
    assert hygiene().clean_trailers([*passed, *[(name, b"1") for name in refused]]) == passed


def test_tokens_are_lower_case_and_without_empty_ones():
    assert tokens([b"Close, ,X-A ", b"", b"x-b"]) == {b"close", b"x-a", b"x-b"}


def test_names_of_answers_are_lower_case_and_empty_if_they_stay_behind():
    known = AnswerNames()
    found = [known[name] for name in (b"ETag", b"Keep-Alive", b"Content-Length", b"X-Gateway-Error", b"Content-Type")]
    assert found == [b"etag", b"", b"", b"", b"content-type"]


# -- repeated heads ---------------------------------------------------------------------------------------------------


def repeated(*headers):
    made = exchange(*headers)
    made.head.block = FieldBlock(b"", made.head.headers.copy(), b"api.example.org", b"api.example.org", True)
    return made


def test_a_repeated_head_is_composed_once_and_its_request_line_each_time():
    rules = hygiene()
    made = repeated((b"accept", b"*/*"))
    first = rules.request_head(made, b"", 1, None)
    assert made.head.block.composer is rules
    made.head.path, made.head.query, made.id = b"/b", b"c", b"id-2"
    assert rules.request_head(made, b"10.0.0.1", 2, None) == (
        first.replace(b"GET /a ", b"GET /b?c ")
        .replace(b"\r\nhost: api.example.org", b"\r\nhost: 10.0.0.1", 1)
        .replace(b"id-1", b"id-2")
        .replace(b"attempt: 1", b"attempt: 2")
    )


def test_what_filters_make_of_a_repeated_head_is_composed_once_too():
    rules = hygiene()
    made = repeated((b"accept", b"*/*"), (b"authorization", b"secret"))
    for user in (b"alice", b"alice", b"bob"):
        made.head.headers = [(b"accept", b"*/*"), (b"x-user-id", user)]
        fields = head_fields(rules.request_head(made, b"", 1, None))
        assert (b"x-user-id", user) in fields
        assert b"authorization" not in dict(fields)
        assert made.head.block.edited == made.head.headers
        assert made.head.block.edited is not made.head.headers  # what is done to the head afterwards must not get there


def test_fields_beyond_measure_are_not_remembered():
    rules = hygiene()
    made = repeated((b"accept", b"*/*"))
    made.head.headers.append((b"x-long", b"x" * 10_000))
    rules.request_head(made, b"", 1, None)
    assert made.head.block.composer is None


def test_what_a_filter_edits_in_a_repeated_head_is_sent():
    rules = hygiene()
    made = repeated((b"accept", b"*/*"))
    plain = rules.request_head(made, b"", 1, None)
    made.head.headers.append((b"x-team", b"platform"))
    assert (b"x-team", b"platform") in head_fields(rules.request_head(made, b"", 1, None))
    made.head.headers.pop()
    made.head.prefix = b"/v1"
    assert (b"x-forwarded-prefix", b"/v1") in head_fields(rules.request_head(made, b"", 1, None))
    made.head.prefix = b""
    assert rules.request_head(made, b"", 1, None) == plain


def test_another_plan_composes_a_repeated_head_by_its_own_rules():
    made = repeated((b"accept", b"*/*"))
    hygiene().request_head(made, b"", 1, None)
    other = hygiene(name="other")
    assert (b"via", b"1.1 other") in head_fields(other.request_head(made, b"", 1, None))


def test_a_head_with_forwarding_fields_is_composed_each_time():
    rules = hygiene()
    made = repeated((b"via", b"1.1 a"))
    rules.request_head(made, b"", 1, None)
    assert made.head.block.composer is None
