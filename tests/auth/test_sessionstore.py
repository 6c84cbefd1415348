"""Sessions in a real Redis, and in cookies."""

import msgspec
import pytest
from twisted.internet.defer import ensureDeferred

from suuupra_gateway.auth.seal import Ring, bytes_of, text_of
from suuupra_gateway.auth.session import Session, Ticket, Tokens
from suuupra_gateway.auth.sessionstore import LOCK, CookieSessions, RedisSessions
from suuupra_gateway.config.model import SessionSpec
from suuupra_gateway.config.units import Duration, Secret
from suuupra_gateway.net.redis import StoreUnavailable
from tests.auth.portal import KEY, Portal

NOW = 1.8e9


class Shelf:
    """A store whose calls end at once."""

    def __init__(self, line, key=KEY, login="shop", **spec):
        self.now = NOW
        self.spec = SessionSpec(keys=(Secret(key),), **spec)
        self.store = RedisSessions(
            line.redis, Ring(self.spec.keys, "sessions"), login, self.spec, wall=lambda: self.now
        )
        self._portal = Portal(line)

    def __getattr__(self, name):
        return lambda *args: self._portal.run(getattr(self.store, name)(*args))

    def make(self, subject="alice", sid="s1", **more):
        ticket = Ticket.new()
        session = Session(ticket.id, subject, {"sub": subject}, self.now, self.now + 900, sid=sid, **more)
        self.create(session, ticket)
        return session, ticket


def test_a_session_is_read_by_its_ticket(line):
    shelf = Shelf(line)
    session, ticket = shelf.make(tokens=Tokens("access", "refresh", "id", NOW, NOW + 60))
    assert shelf.read(ticket) == session
    assert shelf.read(Ticket.new()) is None


def test_without_the_secret_it_is_not_read_nor_kept_alive(line, server):
    shelf = Shelf(line)
    _, ticket = shelf.make()
    server.ask("PEXPIRE", f"t:sess:shop:{ticket.id}", "5000")
    assert shelf.read(Ticket(ticket.id, Ticket.new().secret)) is None
    assert int(server.ask("PTTL", f"t:sess:shop:{ticket.id}")[1:]) <= 5000


def test_nor_with_other_keys_nor_by_another_login(line, server):
    shelf = Shelf(line)
    _, ticket = shelf.make()
    assert Shelf(line, key="another key of sessions, just as long as the first").read(ticket) is None
    server.ask("RENAME", f"t:sess:shop:{ticket.id}", f"t:sess:blog:{ticket.id}")
    assert Shelf(line, login="blog").read(ticket) is None


def test_redis_sees_neither_tokens_nor_names(line, server):
    shelf = Shelf(line)
    shelf.make(subject="alice-in-clear", sid="sid-in-clear", tokens=Tokens("access-in-clear", "refresh-in-clear"))
    for key in server.ask("KEYS", "*").split(b"\r\n"):
        assert b"in-clear" not in key
        if key.startswith(b"t:sess:"):
            assert b"in-clear" not in server.ask("GET", key.decode())


def test_a_session_that_was_written_by_another_release_is_over(line):
    shelf = Shelf(line)
    _, ticket = shelf.make()
    sealed = Ring(shelf.spec.keys, "sessions").seal(b'{"v": 2}', f"session shop {ticket.id}".encode(), ticket.secret)
    shelf._portal.run(line.redis.call("SET", f"t:sess:shop:{ticket.id}", sealed))
    assert shelf.read(ticket) is None


def test_reading_keeps_a_session_from_being_idle(line, server):
    shelf = Shelf(line, idle=Duration(60.0))
    _, ticket = shelf.make()
    key = f"t:sess:shop:{ticket.id}"
    assert 50_000 < int(server.ask("PTTL", key)[1:]) <= 60_000
    server.ask("PEXPIRE", key, "1000")
    shelf.read(ticket)
    line.pump(0.2)
    assert 50_000 < int(server.ask("PTTL", key)[1:]) <= 60_000


def test_nothing_keeps_it_beyond_its_end(line, server):
    shelf = Shelf(line)
    _, ticket = shelf.make()
    shelf.now += 890
    assert shelf.read(ticket) is not None
    line.pump(0.2)
    assert int(server.ask("PTTL", f"t:sess:shop:{ticket.id}")[1:]) <= 10_000
    shelf.now += 10
    assert shelf.read(ticket) is None


def test_writing_replaces_what_is_there_and_brings_nothing_back(line, server):
    shelf = Shelf(line)
    session, ticket = shelf.make()
    server.ask("PEXPIRE", f"t:sess:shop:{ticket.id}", "5000")
    changed = msgspec.structs.replace(session, scopes="more")
    assert shelf.write(changed, ticket) is True
    assert int(server.ask("PTTL", f"t:sess:shop:{ticket.id}")[1:]) <= 5000
    assert shelf.read(ticket) == changed
    shelf.delete(session)
    assert shelf.write(changed, ticket) is False
    assert shelf.read(ticket) is None


def test_deleting_leaves_nothing(line, server):
    shelf = Shelf(line)
    session, _ = shelf.make()
    shelf.delete(session)
    assert server.ask("DBSIZE") == b":0\r\n"


@pytest.mark.parametrize(
    ("subject", "sid", "left"),
    [
        ("alice", "", ["bob"]),
        ("", "s1", ["alice2", "bob"]),
        ("alice", "s1", ["alice2", "bob"]),
        ("bob", "s1", ["alice1", "alice2", "bob"]),
        ("nobody", "", ["alice1", "alice2", "bob"]),
    ],
)
def test_sessions_end_by_the_providers_names(line, subject, sid, left):
    shelf = Shelf(line)
    made = {
        "alice1": shelf.make("alice", "s1"),
        "alice2": shelf.make("alice", "s2"),
        "bob": shelf.make("bob", "s3"),
    }
    ids = shelf.delete_all(subject, sid)
    assert [name for name, (_, ticket) in made.items() if shelf.read(ticket) is not None] == left
    assert set(ids) == {session.id for name, (session, _) in made.items() if name not in left}


def test_sessions_without_a_name_at_the_provider_are_found_by_subject(line):
    shelf = Shelf(line)
    _, ticket = shelf.make(sid="")
    shelf.delete_all("alice", "")
    assert shelf.read(ticket) is None


def test_a_thousand_sessions_end_at_once(line, server):
    shelf = Shelf(line)
    for number in range(1200):
        server.ask("ZADD", "t:sess-sub:shop:" + digest("alice"), str(int(NOW + 900)), f"id{number}")
        server.ask("SET", f"t:sess:shop:id{number}", "x")
    assert len(shelf.delete_all("alice", "")) == 1200
    assert server.ask("DBSIZE") == b":0\r\n"


def digest(name):
    import hashlib

    return hashlib.sha256(name.encode()).hexdigest()[:32]


def test_indexes_forget_sessions_that_are_over(line, server):
    shelf = Shelf(line)
    shelf.make()
    shelf.now += 1000
    shelf.make()
    assert server.ask("ZCARD", "t:sess-sub:shop:" + digest("alice")) == b":1\r\n"


def test_things_happen_for_the_first_time_once(line):
    shelf = Shelf(line)
    assert shelf.seen("state:x") is False
    assert shelf.first("state:x", 60.0) is True
    assert shelf.first("state:x", 60.0) is False
    assert shelf.seen("state:x") is True
    assert shelf.first("state:y", 60.0) is True
    assert Shelf(line, login="blog").first("state:x", 60.0) is True


def test_one_has_the_lock(line):
    shelf = Shelf(line)
    lock = shelf.lock("i")
    assert lock is not None
    assert shelf.lock("i") is None
    assert shelf.lock("j") is not None
    shelf.release(lock)
    assert shelf.lock("i") is not None


def test_a_lock_holds_as_long_as_it_is_renewed(line, server):
    shelf = Shelf(line)
    lock = shelf.lock("i")
    server.ask("PEXPIRE", lock.key, "1000")
    assert shelf.renew(lock) is True
    assert int(server.ask("PTTL", lock.key)[1:]) > (LOCK - 2) * 1000


def test_who_has_lost_the_lock_does_not_take_it_from_others(line, server):
    shelf = Shelf(line)
    late = shelf.lock("i")
    server.ask("DEL", late.key)
    other = shelf.lock("i")
    assert shelf.renew(late) is False
    shelf.release(late)
    shelf.release(late, 5.0)
    assert shelf.lock("i") is None
    assert shelf.renew(other) is True


def test_a_failure_leaves_the_session_alone_for_a_while(line, server):
    shelf = Shelf(line)
    lock = shelf.lock("i")
    assert shelf.cooling("i") is False
    shelf.release(lock, 5.0)
    assert shelf.cooling("i") is True
    assert shelf.lock("i") is None
    assert 0 < int(server.ask("PTTL", lock.key)[1:]) <= 5000


def test_a_store_that_is_away_is_said_to_be(line):
    shelf = Shelf(line)
    _, ticket = shelf.make()
    line.cut()
    for call in (lambda: shelf.read(ticket), lambda: shelf.lock("i"), lambda: shelf.first("x", 1.0)):
        with pytest.raises(StoreUnavailable):
            call()


def test_a_session_lasts_though_its_use_could_not_be_noted(line):
    """Redis goes away between the answer and the note."""
    shelf = Shelf(line)
    session, ticket = shelf.make()
    results = []
    ensureDeferred(shelf.store.read(ticket)).addBoth(results.append)
    while not results:
        line.pump(0.1)
    line.cut()
    assert results == [session]
    assert shelf.store.now == NOW


# -- in cookies -------------------------------------------------------------------------------------------------------


class Jar:
    def __init__(self, login="shop", key=KEY, **spec):
        self.now = NOW
        self.spec = SessionSpec(keys=(Secret(key),), **spec)
        self.store = CookieSessions(Ring(self.spec.keys, "cookies"), login, self.spec, wall=lambda: self.now)

    def make(self, **more):
        return Session("i", "alice", {"sub": "alice"}, self.now, self.now + 900, **more)


def test_a_sealed_session_is_opened_without_its_tokens():
    jar = Jar(idle=Duration(60.0))
    session = jar.make(tokens=Tokens("access", "refresh"))
    assert jar.store.open(jar.store.seal(session)) == msgspec.structs.replace(session, tokens=None, idle=NOW + 60)


def test_a_sealed_session_is_over_when_idle_and_in_the_end():
    jar = Jar(idle=Duration(60.0))
    sealed = jar.store.seal(jar.make())
    jar.now += 59
    assert jar.store.open(sealed) is not None
    jar.now += 1
    assert jar.store.open(sealed) is None
    jar = Jar(idle=Duration(3600.0))
    sealed = jar.store.seal(jar.make())
    jar.now += 900
    assert jar.store.open(sealed) is None


def test_every_changed_byte_of_a_sealed_session_ends_it():
    jar = Jar()
    sealed = jar.store.seal(jar.make())
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] = ord("A") if changed[place] != ord("A") else ord("B")
        assert jar.store.open(bytes(changed)) is None


def test_cookies_of_others_are_nothing():
    jar = Jar()
    sealed = jar.store.seal(jar.make())
    assert Jar(login="blog").store.open(sealed) is None
    assert Jar(key="another key of sessions, just as long as the first").store.open(sealed) is None
    assert jar.store.open(b"") is None
    other = text_of(Ring(jar.spec.keys, "cookies").seal(b"{}", b"session shop"))
    assert bytes_of(other) is not None
    assert jar.store.open(other) is None


def test_cookies_wear_with_a_quarter_of_what_they_may_be_idle():
    jar = Jar(idle=Duration(60.0))
    session = jar.store.open(jar.store.seal(jar.make()))
    jar.now += 15
    assert not jar.store.worn(session)
    jar.now += 1
    assert jar.store.worn(session)


def test_a_cookie_that_lasts_to_the_end_does_not_wear():
    jar = Jar(idle=Duration(3600.0))
    session = jar.store.open(jar.store.seal(jar.make()))
    jar.now += 899
    assert not jar.store.worn(session)
