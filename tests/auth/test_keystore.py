"""Records of API keys: their words, their times, what is noted of callers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.auth.keystore import KeyRecord, agent_of

NOW = 1_800_000_000.0
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.floats(0, 4e9)


def record(**more):
    return KeyRecord(id="abc", hash="00", pepper="0a", environment="live", owner="orders", **more)


@given(
    st.builds(
        KeyRecord,
        id=texts,
        hash=texts,
        pepper=texts,
        environment=texts,
        owner=texts,
        scopes=st.lists(texts).map(tuple),
        expires_at=times,
        limits=st.dictionaries(texts, texts, max_size=3),
        notes=st.dictionaries(texts, texts, max_size=3),
    )
)
def test_records_come_back_as_they_were(kept):
    assert KeyRecord.decode(kept.encode()) == kept


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"id": 7}', b"\xff", record().encode()[:-1]])
def test_what_is_no_record_is_refused(data):
    with pytest.raises(ValueError, match="no record of a key"):
        KeyRecord.decode(data)


def test_what_later_releases_add_is_passed_over():
    assert KeyRecord.decode(record().encode()[:-1] + b',"invented":[1]}') == record()


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({}, "active"),
        ({"status": "revoked", "expires_at": NOW - 1}, "revoked"),
        ({"expires_at": NOW}, "expired"),
        ({"expires_at": NOW + 0.1}, "active"),
        ({"overlap_until": NOW}, "replaced"),
        ({"overlap_until": NOW + 0.1}, "active"),
        ({"not_before": NOW}, "active"),
        ({"not_before": NOW + 0.1}, "not-yet"),
    ],
)
def test_the_state_of_a_key_follows_from_its_times(more, state):
    assert record(**more).state(NOW) == state


def test_a_key_ends_when_the_first_of_its_reasons_comes():
    assert record().ends() == 0.0
    assert record(expires_at=NOW).ends() == NOW
    assert record(expires_at=NOW, overlap_until=NOW - 1).ends() == NOW - 1


@pytest.mark.parametrize(
    ("value", "noted"),
    [
        (None, ""),
        (b"curl/8.1", "curl/8.1"),
        (b"a\x1b[31mb\r\nc\x00", "a?[31mb??c?"),
        ("Müller ☃".encode(), "Müller ☃"),
        (b"\xff", "�"),
        (b"x" * 500, "x" * 120),
    ],
)
def test_agents_are_noted_short_and_visible(value, noted):
    assert agent_of(value) == noted
