"""
What `suuupra_gateway.net.redis` must do on any reactor, with a real redis-server; see `tests.net.drive`.
"""

import contextlib
import inspect
import pathlib
import tempfile
import time

import pytest
from twisted.internet.defer import CancelledError
from twisted.logger import formatEvent, globalLogPublisher

from suuupra_gateway.config.store import StoreSpec
from suuupra_gateway.config.units import Duration, Secret
from suuupra_gateway.net import redis as module
from suuupra_gateway.net.redis import Redis, Script, StoreError, StoreUnavailable
from tests.net.certificates import Authority
from tests.servers.redis import RedisServer

TIMEOUT = 0.25
ECHO = Script("return {KEYS[1], ARGV[1]}")


def server(stage, *options, **others):
    directory = pathlib.Path(tempfile.mkdtemp(dir=stage.directory))
    return stage.keep(RedisServer(directory, *options, **others))


async def until(stage, predicate, seconds=10.0):
    end = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < end, f"not within {seconds} s: {inspect.getsource(predicate).strip()}"
        await stage.sleep(0.01)


@contextlib.asynccontextmanager
async def client(stage, url, *, there=True, patience=TIMEOUT, **options):
    redis = Redis(StoreSpec(url=url, timeout=Duration(patience), **options), stage.reactor)
    redis.start()
    try:
        if there:
            await until(stage, lambda: redis.available)
        yield redis
    finally:
        await redis.retire()


async def failing(awaitable, kind=StoreUnavailable):
    """The message with which it fails, and after how many seconds."""
    began = time.monotonic()
    try:
        result = await awaitable
    except kind as reason:
        return str(reason), time.monotonic() - began
    raise AssertionError(f"no {kind.__name__}, but {result!r}")


async def replies_are_as_redis_says(stage):
    async with client(stage, server(stage).url) as redis:
        assert await redis.call("SET", "name", b"\xff\x00") == b"OK"
        assert await redis.call("GET", b"name") == b"\xff\x00"
        assert await redis.call("GET", "nothing") is None
        assert await redis.call("SET", "count", 7) == b"OK"
        assert await redis.call("INCR", "count") == 8
        assert await redis.call("MGET", "count", "nothing") == [b"8", None]
        assert await redis.calls([("INCR", "count"), ("GET", "count")]) == [9, b"9"]
        assert await redis.calls([]) == []
        message, _ = await failing(redis.call("INCR", "name"), StoreError)
        assert message.startswith("ERR value is not an integer")
        message, _ = await failing(redis.calls([("GET", "count"), ("INCR", "name")]), StoreError)
        assert message.startswith("ERR value is not an integer")
        assert await redis.call("PING") == b"PONG"
        assert redis.key("sess", "a") == "sg:sess:a"


async def scripts_are_sent_once(stage):
    running = server(stage)
    async with client(stage, running.url) as redis:
        for _ in range(3):
            assert await redis.script(ECHO, ["key"], [5]) == [b"key", b"5"]
        assert b"calls=1," in _counted(running, "eval")
        assert b"calls=3," in _counted(running, "evalsha")
        running.ask("SCRIPT", "FLUSH")
        assert await redis.script(ECHO, ["key"], [b"x"]) == [b"key", b"x"]
        message, _ = await failing(redis.script(Script("return redis.call('INCR')"), []), StoreError)
        assert "Wrong number of args" in message
        running.stop()
        await until(stage, lambda: not redis.available)
        await failing(redis.script(ECHO, ["key"], [5]))
        stage.expected.append("Redis")


def _counted(running, command):
    lines = running.ask("INFO", "commandstats").split(b"\r\n")
    return next(line for line in lines if line.startswith(f"cmdstat_{command}:".encode()))


async def commands_of_one_turn_leave_in_one_write(stage):
    def serve(connection):
        assert connection.recv(1000) == b"*1\r\n$4\r\nPING\r\n"
        connection.sendall(b"+PONG\r\n")
        together = connection.recv(1000)
        connection.sendall(b"+1\r\n+2\r\n:3\r\n")
        with contextlib.suppress(ConnectionResetError):
            connection.recv(1000)
        return together

    address, served = stage.served(serve)
    async with client(stage, f"redis://{address}") as redis:
        first, second, third = redis.call("GET", "a"), redis.call("GET", "b"), redis.script(ECHO, ["c"], [1])
        assert [await first, await second, await third] == [b"1", b"2", 3]
    assert (await served).count(b"$3\r\nGET\r\n") == 2


async def without_a_server_commands_fail_at_once(stage):
    stage.expected.append("cannot be used")
    async with client(stage, f"unix:{stage.path()}", there=False) as redis:
        await stage.sleep(0.05)
        _, seconds = await failing(redis.call("GET", "a"))
        assert seconds < 0.05
        assert not redis.available
        await failing(redis.calls([("GET", "a"), ("GET", "b")]))


async def one_that_comes_later_is_found(stage):
    stage.expected.append("cannot be used")
    running = server(stage, "--tcp")
    running.stop()
    async with client(stage, running.url, there=False) as redis:
        await stage.sleep(0.3)
        running.start()
        await until(stage, lambda: redis.available, seconds=4)
        assert await redis.call("PING") == b"PONG"


async def one_that_is_frozen_costs_the_timeout_once_and_comes_back(stage):
    stage.expected.append("Redis")
    running = server(stage, "--tcp")
    async with client(stage, running.url) as redis:
        running.freeze()
        waiting = [redis.call("GET", "a") for _ in range(5)]
        for each in waiting:
            message, _ = await failing(each)
            assert "no reply within 0.25 s" in message
        began = time.monotonic()
        for _ in range(20):
            _, seconds = await failing(redis.call("GET", "a"))
            assert seconds < 0.05
            await stage.sleep(0.05)
        assert time.monotonic() - began < 3.0
        running.thaw()
        await until(stage, lambda: redis.available, seconds=4)
        assert await redis.call("SET", "a", 1) == b"OK"


async def the_timeout_holds_for_each_command_of_its_own(stage):
    stage.expected.append("Redis")
    running = server(stage)
    async with client(stage, running.url, patience=0.4) as redis:
        running.freeze()
        began = time.monotonic()
        first = redis.call("GET", "a")
        await stage.sleep(0.2)
        second = redis.call("GET", "b")
        await failing(first)
        await failing(second)
        assert 0.35 < time.monotonic() - began < 0.6  # replies come in order: the second could not have been in time
        running.thaw()
        await until(stage, lambda: redis.available)


async def a_busy_connection_is_not_late(stage):
    async with client(stage, server(stage).url, patience=0.2) as redis:
        for _ in range(30):
            assert await redis.call("PING") == b"PONG"
            await stage.sleep(0.02)


async def one_that_is_killed_takes_what_waits_and_comes_back_empty(stage):
    stage.expected.append("Redis")
    running = server(stage)
    async with client(stage, running.url) as redis:
        await redis.call("SET", "a", 1)
        await redis.script(ECHO, ["key"], [5])
        running.freeze()
        waiting = redis.call("GET", "a")
        running.stop()
        message, seconds = await failing(waiting)
        assert "lost" in message
        assert seconds < 0.2
        running.start()
        await until(stage, lambda: redis.available, seconds=4)
        assert await redis.call("GET", "a") is None
        assert await redis.script(ECHO, ["key"], [5]) == [b"key", b"5"]


async def clients_that_are_killed_come_back(stage):
    stage.expected.append("Redis")
    running = server(stage)
    async with client(stage, running.url) as redis:
        running.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(stage, lambda: not redis.available)
        await until(stage, lambda: redis.available, seconds=1)
        assert await redis.call("PING") == b"PONG"


async def one_that_pauses_is_given_up_and_found_again(stage):
    stage.expected.append("Redis")
    running = server(stage)
    async with client(stage, running.url) as redis:
        running.ask("CLIENT", "PAUSE", "600")
        _, seconds = await failing(redis.call("SET", "a", 1))
        assert seconds < 0.4
        await until(stage, lambda: redis.available, seconds=4)
        await redis.call("SET", "a", 1)


async def a_replica_is_not_the_one_to_write_to(stage):
    stage.expected.append("Redis")
    running = server(stage)
    async with client(stage, running.url) as redis:
        running.ask("REPLICAOF", "127.0.0.1", "1")
        message, _ = await failing(redis.call("SET", "a", 1))
        assert message.startswith("READONLY")
        assert not redis.available
        running.ask("REPLICAOF", "NO", "ONE")
        await until(stage, lambda: redis.available, seconds=4)
        assert await redis.call("SET", "a", 1) == b"OK"


async def one_that_is_busy_with_a_script_is_unavailable(stage):
    stage.expected.append("Redis")
    running = server(stage, "--busy-reply-threshold", "10")
    async with client(stage, running.url, patience=2.0) as redis, client(stage, running.url, patience=2.0) as other:
        endless = other.script(Script("while true do end"), [])
        await stage.sleep(0.3)
        message, _ = await failing(redis.call("GET", "a"))
        assert message.startswith("BUSY")
        assert redis.available
        running.ask("SCRIPT", "KILL")
        await failing(endless, StoreError)
        assert await redis.call("GET", "a") is None


async def users_are_who_they_say(stage):
    stage.expected.append("cannot be used")
    running = server(stage)
    running.ask("ACL", "SETUSER", "gateway", "on", ">right", "~sg:*", "&sg:*", "+@all")
    running.ask("ACL", "SETUSER", "nobody", "on", "nopass", "~sg:*", "+@all")
    running.ask("ACL", "SETUSER", "default", "off")
    async with client(stage, running.url, user="gateway", password=Secret("right")) as redis:
        assert await redis.call("SET", redis.key("a"), 1) == b"OK"
        message, _ = await failing(redis.call("SET", "other", 1), StoreError)
        assert message.startswith("NOPERM")
    async with client(stage, running.url, user="nobody") as redis:
        assert await redis.call("SET", redis.key("a"), 1) == b"OK"
    async with client(stage, running.url, there=False, user="gateway", password=Secret("wrong")) as redis:
        await stage.sleep(0.2)
        assert not redis.available
    async with client(stage, running.url, there=False) as redis:
        await stage.sleep(0.2)
        assert not redis.available


async def a_password_that_becomes_right_is_taken(stage):
    stage.expected.append("cannot be used")
    running = server(stage, "--requirepass", "old")
    async with client(stage, running.url, there=False, password=Secret("new")) as redis:
        await stage.sleep(0.2)
        assert not redis.available
        async with client(stage, running.url, password=Secret("old")) as other:
            await other.call("CONFIG", "SET", "requirepass", "new")
        await until(stage, lambda: redis.available, seconds=4)


async def passwords_are_in_no_log(stage):
    stage.expected.append("cannot be used")
    logged = []
    globalLogPublisher.addObserver(logged.append)
    secret = Secret("unspeakable")
    for running in (server(stage), server(stage, "--rename-command", "AUTH", "")):
        async with client(stage, running.url, there=False, user="gateway", password=secret):
            await stage.sleep(0.2)
    globalLogPublisher.removeObserver(logged.append)
    texts = [formatEvent(event) for event in logged]
    assert "cannot be used: WRONGPASS" in texts[0]
    assert texts[1].endswith("cannot be used: ERR unknown command 'AUTH'")
    assert "unspeakable" not in str(logged)


async def databases_are_chosen(stage):
    running = server(stage, "--tcp")
    async with client(stage, running.url + "/3") as third, client(stage, running.url, database=4) as fourth:
        await third.calls([("SET", "where", 3)])
        await fourth.calls([("SET", "where", 4)])
        assert await third.call("GET", "where") == b"3"
        async with client(stage, running.url) as first:
            assert await first.call("GET", "where") is None
    async with client(stage, f"unix:{running.path}", database=4) as fourth:
        assert await fourth.call("GET", "where") == b"4"
    stage.expected.append("cannot be used")
    async with client(stage, running.url + "/99", there=False) as none:
        await stage.sleep(0.2)
        assert not none.available


async def tls_is_verified(stage):
    stage.expected.append("certificate")  # is why it cannot be used
    good = server(stage, tls=stage.authority.issue("localhost", "127.0.0.1"), authority=stage.authority.file)
    async with client(stage, good.url, ca_file=stage.authority.file) as redis:
        assert await redis.call("SET", "a", b"x" * 100_000) == b"OK"
        assert await redis.call("GET", "a") == b"x" * 100_000
    async with client(stage, good.url.replace("localhost", "127.0.0.1"), ca_file=stage.authority.file) as redis:
        assert await redis.call("PING") == b"PONG"
    stranger = Authority(stage.directory, "somebody else")
    for files in ({"ca_file": stranger.file}, {}):
        async with client(stage, good.url, there=False, **files) as redis:
            await stage.sleep(0.3)
            assert not redis.available
    other = server(stage, tls=stage.authority.issue("other.example"), authority=stage.authority.file)
    async with client(stage, other.url, there=False, ca_file=stage.authority.file) as redis:
        await stage.sleep(0.3)
        assert not redis.available


async def tls_that_is_frozen_costs_no_more(stage):
    stage.expected.append("Redis")
    running = server(stage, tls=stage.authority.issue("localhost"), authority=stage.authority.file)
    async with client(stage, running.url, ca_file=stage.authority.file) as redis:
        running.freeze()
        _, seconds = await failing(redis.call("GET", "a"))
        assert seconds < 0.4
        await stage.sleep(0.3)
        running.thaw()
        await until(stage, lambda: redis.available, seconds=6)


async def what_waits_is_bounded(stage):
    stage.expected.append("Redis")
    running = server(stage)
    async with client(stage, running.url, patience=2.0) as redis:
        running.freeze()
        waiting = [redis.call("GET", "a") for _ in range(10_000)]
        message, seconds = await failing(redis.call("GET", "a"))
        assert "10000 commands wait" in message
        assert seconds < 0.05
        running.thaw()
        assert [await each for each in waiting] == [None] * 10_000
        assert await redis.call("PING") == b"PONG"


async def who_cancels_takes_no_reply_of_others(stage):
    async with client(stage, server(stage).url) as redis:
        await redis.calls([("SET", "a", 1), ("SET", "b", 2)])
        first, second = redis.call("GET", "a"), redis.call("GET", "b")
        first.cancel()
        await failing(first, CancelledError)
        assert await second == b"2"


async def what_is_not_redis_is_not_used(stage):
    stage.expected.append("cannot be used")
    for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+PONG\r\n+and more\r\n", b""):

        def serve(connection, answer=answer):
            connection.recv(1000)
            connection.sendall(answer)
            with contextlib.suppress(OSError):
                connection.recv(1000)

        address, served = stage.served(serve)
        async with client(stage, f"redis://{address}", there=False) as redis:
            await served
            await until(stage, lambda redis=redis: not redis.available)
    stage.expected.append("is gone: a reply came")


async def what_waits_may_finish_when_it_is_retired(stage):
    running = server(stage)
    redis = Redis(StoreSpec(url=running.url, timeout=Duration(2.0)), stage.reactor)
    redis.start()
    await until(stage, lambda: redis.available)
    running.freeze()
    waiting = [redis.call("INCR", "a"), redis.call("INCR", "a")]
    retired = redis.retire()
    assert not redis.available
    await failing(redis.call("GET", "a"))
    await stage.sleep(0.05)
    assert not retired.called
    running.thaw()
    await retired
    assert [await each for each in waiting] == [1, 2]


async def retiring_waits_no_longer_than_the_timeout(stage):
    stage.expected.append("Redis")
    running = server(stage)
    redis = Redis(StoreSpec(url=running.url, timeout=Duration(TIMEOUT)), stage.reactor)
    redis.start()
    await until(stage, lambda: redis.available)
    running.freeze()
    waiting = redis.call("INCR", "a")
    began = time.monotonic()
    await redis.retire()
    assert time.monotonic() - began < 0.5
    await failing(waiting)


async def it_can_be_retired_at_any_moment(stage):
    stage.expected.append("cannot be used")
    spec = StoreSpec(url="redis://127.0.0.1:1", timeout=Duration(TIMEOUT))
    await Redis(spec, None).retire()  # never started, as where configurations are only checked
    silent = stage.bound()
    silent.listen(1)
    spec = StoreSpec(url=f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout=Duration(5.0))
    for seconds in (0.0, 0.001, 0.1):  # while it connects, and while it logs in
        redis = Redis(spec, stage.reactor)
        redis.start()
        if seconds:
            await stage.sleep(seconds)
        await redis.retire()
    silent.close()
    redis = Redis(spec, stage.reactor)
    redis.start()
    await stage.sleep(0.05)  # while it waits for the next attempt
    await redis.retire()


async def ca_files_are_read_when_it_is_made(stage):
    for file in (__file__, "/nowhere/ca.pem"):
        with pytest.raises(ValueError, match=file):
            Redis(StoreSpec(url="rediss://localhost", ca_file=file), stage.reactor)


# -- subscriptions ----------------------------------------------------------------------------------------------------


class Heard:
    """What a subscription has told."""

    def __init__(self, broken=False):
        self.broken = broken
        self.messages = []
        self.states = []

    def message(self, channel, message):
        self.messages.append((channel, message))
        if self.broken:
            raise ZeroDivisionError("of a listener")

    def state(self, connected):
        self.states.append(connected)


async def subscribers_hear(stage):
    running = server(stage)
    async with client(stage, running.url) as redis:
        heard, other = Heard(), Heard(broken=True)
        subscription = redis.subscribe(["one", "two"], heard.message, heard.state)
        redis.subscribe(["two"], other.message, other.state)
        await until(stage, lambda: heard.states == [True] and other.states == [True])
        stage.expected.append("What Redis told was not heeded")
        for word in (b"a", b"\xff"):
            await redis.call("PUBLISH", "two", word)
        await redis.call("PUBLISH", "one", b"b")
        await until(stage, lambda: len(heard.messages) == 3 and len(other.messages) == 2)
        assert heard.messages == [("two", b"a"), ("two", b"\xff"), ("one", b"b")]
        subscription.end()
        subscription.end()
        await redis.call("PUBLISH", "two", b"c")
        await until(stage, lambda: len(other.messages) == 3)
        assert len(heard.messages) == 3
        assert heard.states == [True]


async def subscribers_know_when_they_hear_nothing(stage):
    stage.expected.append("Redis")
    running = server(stage)
    module.ALIVE, usual = 0.2, module.ALIVE
    try:
        async with client(stage, running.url) as redis:
            heard = Heard()
            redis.subscribe(["one"], heard.message, heard.state)
            await until(stage, lambda: heard.states == [True])
            await stage.sleep(0.7)  # silence alone is no reason
            assert heard.states == [True]
            running.stop()
            await until(stage, lambda: heard.states == [True, False])
            running.start()
            await until(stage, lambda: heard.states == [True, False, True], seconds=4)
            running.freeze()
            await until(stage, lambda: heard.states == [True, False, True, False], seconds=2)
            running.thaw()
            await until(stage, lambda: heard.states[4:] == [True], seconds=4)
            await until(stage, lambda: redis.available, seconds=4)
            await redis.call("PUBLISH", "one", b"again")
            await until(stage, lambda: heard.messages == [("one", b"again")])
    finally:
        module.ALIVE = usual


async def who_may_not_subscribe_is_told_in_the_log(stage):
    stage.expected.append("NOPERM")
    running = server(stage)
    running.ask("ACL", "SETUSER", "gateway", "on", ">right", "~*", "resetchannels", "&sg:*", "+@all")
    async with client(stage, running.url, user="gateway", password=Secret("right")) as redis:
        heard = Heard()
        redis.subscribe(["elsewhere"], heard.message, heard.state)
        await until(stage, lambda: False in heard.states)
        assert set(heard.states) == {False}


ALL = {
    name: thing
    for name, thing in list(globals().items())
    if inspect.iscoroutinefunction(thing) and thing.__module__ == __name__ and name not in ("until", "failing")
}


def names(kind):
    """The scenarios for a kind of reactor: all of them."""
    return list(ALL)
