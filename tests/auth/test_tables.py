"""The tables themselves; several processes meet in `test_shared`."""

import lmdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suuupra_gateway.auth import tables as module
from suuupra_gateway.auth.tables import EVERYTHING, Record, Tables, encode
from suuupra_gateway.policy.clocks import Wishes

ONE, TWO = b"one-----", b"two-----"


def key(number):
    return b"%016d" % number


def record(decided=10.0, *, allow=True, tags=(), value=b"v"):
    return Record(allow, value, decided, 1e12, tags, Wishes(fresh=3.0))


@pytest.fixture
def tables(tmp_path):
    made = Tables(tmp_path / "file", 16 * 1024 * 1024)
    yield made
    made.env.close()


def write(tables, method, *arguments):
    with tables.env.begin(write=True) as txn:
        return getattr(tables, method)(txn, *arguments)


def put(tables, number, found, namespace=ONE, limit=100):
    write(tables, "put", namespace, key(number), encode(found), limit)


def kept(tables, namespace=ONE, most=200):
    return {number for number in range(most) if tables.read(namespace + key(number)) is not None}


def test_a_record_survives_being_written_down():
    assert msgspec.msgpack.decode(encode(record()), type=Record) == record()


def test_a_record_is_found_in_its_namespace_only(tables):
    put(tables, 1, record())
    assert tables.read(ONE + key(1)) == record()
    assert tables.read(TWO + key(1)) is None
    assert tables.read(ONE + key(2)) is None


def test_the_newer_decision_stays_whoever_writes_last(tables):
    put(tables, 1, record(20.0, allow=False))
    put(tables, 1, record(10.0))
    assert tables.read(ONE + key(1)) == record(20.0, allow=False)
    put(tables, 1, record(30.0))
    assert tables.read(ONE + key(1)) == record(30.0)


def test_what_is_forgotten_is_gone(tables):
    put(tables, 1, record())
    write(tables, "forget", ONE, key(1))
    write(tables, "forget", ONE, key(2))
    assert kept(tables) == set()


def test_the_oldest_go_first(tables):
    for number in (3, 1, 2, 4):
        put(tables, number, record(float(number)), limit=3)
    assert kept(tables) == {2, 3, 4}


def test_refusals_push_out_refusals_only(tables):
    for number in range(4):
        put(tables, number, record(float(number)), limit=8)
    for number in range(100, 150):
        put(tables, number, record(float(number), allow=False), limit=8)
    assert kept(tables) == {0, 1, 2, 3, 148, 149}


def test_each_namespace_has_its_own_limit(tables):
    for number in range(5):
        put(tables, number, record(float(number)), limit=2)
        put(tables, number, record(float(number)), namespace=TWO, limit=4)
    assert kept(tables) == {3, 4}
    assert kept(tables, TWO) == {1, 2, 3, 4}


def test_what_was_revoked_after_it_was_decided_is_not_found(tables):
    put(tables, 1, record(10.0, tags=("a", "b")))
    put(tables, 2, record(10.0, tags=("c",)))
    write(tables, "mark", ("b",), 10.0)
    assert kept(tables) == {2}
    put(tables, 1, record(11.0, tags=("a", "b")))
    assert kept(tables) == {1, 2}


def test_doubt_is_told_with_what_is_found(tables):
    put(tables, 1, record(10.0))
    write(tables, "mark", (EVERYTHING,), 12.0)
    assert tables.read(ONE + key(1)) == msgspec.structs.replace(record(10.0), doubted=12.0)


def test_tidying_forgets_what_is_old_in_all_namespaces(tables):
    for number in range(4):
        put(tables, number, record(float(number)))
        put(tables, number, record(float(number), allow=False), namespace=TWO)
    write(tables, "mark", ("old",), 1.0)
    write(tables, "mark", ("new",), 5.0)
    write(tables, "tidy", 2.0)
    assert kept(tables) == {2, 3}
    assert kept(tables, TWO) == {2, 3}
    with tables.env.begin() as txn:
        assert txn.stat(tables.marks)["entries"] == 1


def test_tidying_finds_nothing_in_an_empty_file(tables):
    write(tables, "tidy", 2.0)


def test_too_many_revocations_take_all_decisions_with_them(tables, monkeypatch):
    monkeypatch.setattr(module, "MARKS", 3)
    secret = tables.secret()
    put(tables, 1, record(limit := 10.0, tags=("0",)))
    write(tables, "mark", ("0", "1", "2"), limit)
    assert kept(tables) == set()
    put(tables, 2, record(5.0))
    write(tables, "mark", (EVERYTHING,), 11.0)
    write(tables, "mark", ("3", "4"), 12.0)
    assert kept(tables) == set()
    assert tables.secret() == secret
    put(tables, 1, record(13.0))
    assert tables.read(ONE + key(1)).doubted == 11.0


def test_a_count_that_is_wrong_ends(tables):
    with tables.env.begin(write=True) as txn:
        txn.put(ONE + b"a", (50).to_bytes(8, "big"), db=tables.notes)
    put(tables, 1, record(1.0), namespace=TWO)
    put(tables, 2, record(2.0), limit=2)
    assert kept(tables) == {2}
    assert kept(tables, TWO) == {1}


def test_clearing_leaves_the_secret(tables):
    secret = tables.secret()
    assert len(secret) == 32
    put(tables, 1, record())
    tables.clear()
    assert kept(tables) == set()
    assert tables.secret() == secret
    for number in range(5):
        put(tables, number, record(float(number)), limit=4)
    assert kept(tables) == {1, 2, 3, 4}


def test_clearing_works_before_there_is_a_secret(tables):
    tables.clear()
    assert len(tables.secret()) == 32


def test_a_file_that_is_full_says_so(tmp_path):
    tables = Tables(tmp_path / "small", 256 * 1024)

    def fill():
        for number in range(1000):
            put(tables, number, record(value=b"x" * 4000), limit=1000)

    with pytest.raises(lmdb.MapFullError):
        fill()
    tables.clear()
    put(tables, 1, record())
    assert kept(tables) == {1}
    tables.env.close()


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 50), st.booleans(), st.booleans()),
        max_size=60,
    )
)
def test_counts_agree_with_what_is_there(tmp_path_factory, changes):
    tables = Tables(tmp_path_factory.mktemp("tables") / "file", 1024 * 1024)
    model = {}
    for number, decided, allow, forget in changes:
        if forget:
            write(tables, "forget", ONE, key(number))
            model.pop(number, None)
            continue
        put(tables, number, record(float(decided), allow=allow), limit=8)
        if number in model and model[number][0] > decided:
            continue
        model.pop(number, None)
        same = sorted((when, key(other), other) for other, (when, kind) in model.items() if kind == allow)
        if len(same) >= (8 if allow else 2):
            del model[same[0][2]]
        model[number] = (decided, allow)
    assert kept(tables) == set(model)
    with tables.env.begin() as txn:
        assert txn.stat(tables.ages)["entries"] == txn.stat(tables.records)["entries"] == len(model)
    tables.env.close()
