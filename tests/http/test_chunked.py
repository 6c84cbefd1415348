"""
The chunked coding, cut anywhere, and its bounds.
"""

import pytest

from suuupra_gateway.errors import BadRequest, HeadTooLarge
from suuupra_gateway.http.chunked import EXTENSIONS, LONGEST_LINE, ChunkReader
from suuupra_gateway.http.rules import HeadRules


def read(raw, step=10**9, **rules):
    reader = ChunkReader(HeadRules(**rules))
    pieces, rest = [], b""
    for start in range(0, len(raw), step):
        data, rest = reader.read(rest + raw[start : start + step])
        if data:
            pieces.append(data)
        if reader.complete:
            rest += raw[start + step :]
            break
    return reader, pieces, rest


BODY = b"5;a=b\r\nhello\r\n1\r\n,\r\n00006\r\n world\r\n0\r\nX-T: 1\r\nX-u:2\t\r\n\r\nGET"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_a_body_cut_anywhere(step):
    reader, pieces, rest = read(BODY, step)
    assert b"".join(pieces) == b"hello, world"
    assert reader.complete
    assert reader.trailers == [(b"x-t", b"1"), (b"x-u", b"2")]
    assert rest == b"GET"


def test_chunks_that_came_together_leave_together():
    _, pieces, _ = read(BODY)
    assert pieces == [b"hello, world"]


def test_a_body_without_trailers():
    reader, pieces, rest = read(b"0\r\n\r\n")
    assert reader.complete
    assert (pieces, rest, reader.trailers) == ([], b"", [])


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize(
    "raw",
    [
        b"5\nhello",
        b"x\r\n",
        b"5\r\nhelloX",
        b"5\r\nhello\rX",
        b"0\r\nX\n",
        b"0\r\nX T: 1\r\n\r\n",
        b"0\r\nHost: a\r\n\r\n",
        b"\r\n",
    ],
)
def test_rubbish_is_refused_as_soon_as_it_can_be(raw, step):
    with pytest.raises(BadRequest):
        read(raw, step)


def test_a_line_has_a_bound():
    fitting = b"1;" + b"a" * (LONGEST_LINE - 2)
    assert read(fitting + b"\r\nx\r\n0\r\n\r\n")[0].complete
    for raw in (fitting + b"a\r\nx\r\n0\r\n\r\n", fitting + b"aa"):
        with pytest.raises(BadRequest):
            read(raw)


def test_extensions_need_data_to_go_with():
    signed = b"".join(b"%x;chunk-signature=%b\r\n%b\r\n" % (500, b"a" * 64, b"x" * 500) for _ in range(1000))
    assert read(signed + b"0\r\n\r\n")[0].complete
    bare = b"1;" + b"a" * 400 + b"\r\nx\r\n"
    with pytest.raises(BadRequest, match="extensions"):
        read(bare * (EXTENSIONS // 400 + 2))


def test_a_large_chunk_does_not_pay_for_all_extensions_to_come():
    body = b"ffffff\r\n" + b"x" * 0xFFFFFF + b"\r\n" + (b"1;" + b"a" * 400 + b"\r\nx\r\n") * 50
    with pytest.raises(BadRequest, match="extensions"):
        read(body)


@pytest.mark.parametrize("step", [50, 10**6])
def test_trailers_have_the_bounds_of_heads(step):
    assert read(b"0\r\n" + b"A: b\r\n" * 3 + b"\r\n", step, headers=3)[0].complete
    with pytest.raises(HeadTooLarge):
        read(b"0\r\n" + b"A: b\r\n" * 4 + b"\r\n", step, headers=3)
    assert read(b"0\r\nA: " + b"b" * 97 + b"\r\n\r\n", step, head=100)[0].complete
    with pytest.raises(HeadTooLarge):
        read(b"0\r\nA: " + b"b" * 98 + b"\r\n\r\n", step, head=100)
    with pytest.raises(HeadTooLarge):
        read(b"0\r\nA: " + b"b" * 100_000, step, head=100)


def test_trailers_obey_the_rule_for_underscores():
    reader, _, _ = read(b"0\r\nX_A: 1\r\nX-B: 2\r\n\r\n")
    assert reader.trailers == [(b"x-b", b"2")]
    with pytest.raises(BadRequest):
        read(b"0\r\nX_A: 1\r\n\r\n", underscores="reject")
