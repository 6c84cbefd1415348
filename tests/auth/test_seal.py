"""What is sealed comes back only to who has the keys, and only as it was."""

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from suuupra_gateway.auth.seal import OVERHEAD, Ring, bytes_of, text_of
from suuupra_gateway.config.units import Secret

OLD, NEW = (
    Secret("the first key, which is quite long, as it must be"),
    Secret("the second key, which is as long as that"),
)
RING = Ring([NEW, OLD], "tests")


@given(st.binary(max_size=200), st.binary(max_size=20), st.binary(max_size=20))
def test_what_was_sealed_is_opened(plain, about, secret):
    sealed = RING.seal(plain, about, secret)
    assert len(sealed) == len(plain) + OVERHEAD
    assert RING.open(sealed, about, secret) == plain
    assert len(plain) < 4 or plain not in sealed


@given(st.binary(max_size=100))
@example(b"")
@example(RING.seal(b"")[:-1])
@example(b"\x02" + RING.seal(b"x")[1:])
def test_what_was_not_sealed_is_not_opened(data):
    assert RING.open(data) is None


def test_every_bit_counts():
    sealed = RING.seal(b"alice")
    for place in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            assert RING.open(bytes(changed)) is None


def test_the_same_is_never_sealed_the_same():
    assert len({RING.seal(b"alice") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("ring", "about", "secret"),
    [
        (RING, b"other", b"s"),
        (RING, b"about", b"other"),
        (RING, b"about", b""),
        (Ring([NEW, OLD], "other"), b"about", b"s"),
        (Ring([Secret("a third key that nobody has ever used before")], "tests"), b"about", b"s"),
    ],
)
def test_nothing_is_opened_with_anything_else(ring, about, secret):
    assert ring.open(RING.seal(b"x", b"about", b"s"), about, secret) is None


def test_keys_are_changed_one_after_the_other():
    before = Ring([OLD], "tests")
    assert RING.open(before.seal(b"x")) == b"x"
    assert before.open(RING.seal(b"x")) is None


def test_the_same_key_twice_is_one_key():
    assert Ring([OLD, OLD], "tests").open(Ring([OLD], "tests").seal(b"x")) == b"x"


def test_marks_are_for_one_text_and_one_matter():
    mark = RING.mark(b"text", b"matter")
    assert len(mark) == 43
    assert RING.marked(b"text", b"matter", mark)
    assert not RING.marked(b"text", b"other", mark)
    assert not RING.marked(b"other", b"matter", mark)
    assert not RING.marked(b"text", b"matter", b"")
    assert not RING.marked(b"xt", b"matterte", RING.mark(b"text", b"matter"))


def test_marks_of_an_older_key_still_count():
    assert RING.marked(b"text", b"matter", Ring([OLD], "tests").mark(b"text", b"matter"))
    assert not Ring([OLD], "tests").marked(b"text", b"matter", RING.mark(b"text", b"matter"))


@given(st.binary(max_size=64))
def test_bytes_are_written_in_one_way(data):
    text = text_of(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=")
    assert bytes_of(text) == data


@given(st.binary(max_size=64))
@example(b"QQ")
@example(b"QR")
@example(b"QQ==")
@example(b"Q Q")
@example(b"+/+/")
@example(b"A")
def test_and_read_in_one_way(text):
    """QQ and QR are the same byte to a careless reader."""
    data = bytes_of(text)
    assert data is None or text_of(data) == text


def test_standard_base64_is_not_taken_for_ours():
    assert bytes_of(b"+/+/") is None
