"""
Bytes on a connection: order, pace, the ends, and handing it over.
"""

import contextlib
import sys

from twisted.internet import error

from tests.net.stage import MEGABYTE, Recorder, RecorderFactory, dial, echo, only, read_all, read_exactly, reset


async def data_before_the_end_is_delivered_first(stage):
    factory = RecorderFactory()
    _, name = stage.listening(factory)

    def client():
        with dial(name) as sock:
            sock.sendall(MEGABYTE)

    await stage.thread(client)
    protocol = await factory.built()
    reason = await protocol.end()
    assert reason.check(error.ConnectionDone)
    assert protocol.received == MEGABYTE
    assert protocol.calls[0] == "made"
    assert protocol.calls[-1] == "lost"


async def a_reset_by_the_peer_is_a_lost_connection(stage):
    factory = RecorderFactory()
    _, name = stage.listening(factory)
    sock = await stage.thread(dial, name)
    protocol = await factory.built()
    reset(sock)
    reason = await protocol.end()
    assert reason.check(error.ConnectionLost), reason
    assert not reason.check(error.ConnectionDone, error.ConnectionAborted)


async def everything_written_is_sent_before_the_connection_closes(stage):
    def made(protocol):
        for _ in range(4):
            protocol.transport.write(MEGABYTE)
        protocol.transport.writeSequence([b"the ", b"end"])
        protocol.transport.loseConnection()
        assert protocol.transport.disconnecting
        protocol.transport.loseConnection()

    factory = RecorderFactory(made=made)
    _, name = stage.listening(factory)

    def client():
        with dial(name) as sock:
            return read_all(sock)

    assert await stage.thread(client) == MEGABYTE * 4 + b"the end"
    assert (await (await factory.built()).end()).check(error.ConnectionDone)


async def writing_after_the_end_is_ignored(stage):
    factory = RecorderFactory()
    _, name = stage.listening(factory)
    (await stage.thread(dial, name)).close()
    protocol = await factory.built()
    transport = protocol.transport
    await protocol.end()
    await stage.sleep(0)
    transport.write(b"x")
    transport.writeSequence([b"x"])
    transport.pauseProducing()
    transport.resumeProducing()
    transport.loseConnection()
    transport.abortConnection()
    assert not transport.connected


async def writing_while_the_peer_goes_away_raises_nothing(stage):
    factory = RecorderFactory()
    _, name = stage.listening(factory)
    sock = await stage.thread(dial, name)
    protocol = await factory.built()
    reset(sock)
    for _ in range(100):
        protocol.transport.write(MEGABYTE[:65536])
    assert (await protocol.end()).check(error.ConnectionLost)


async def abort_resets_and_drops_what_is_unsent(stage):
    factory = RecorderFactory()
    _, name = stage.listening(factory)
    sock = stage.keep(await stage.thread(dial, name))
    protocol = await factory.built()
    for _ in range(20):
        protocol.transport.write(MEGABYTE)
    protocol.transport.abortConnection()
    assert protocol.lost is None, "connectionLost must not come from inside of abortConnection"
    protocol.transport.abortConnection()
    assert (await protocol.end()).check(error.ConnectionAborted)

    def client():
        try:
            return len(read_all(sock))
        except ConnectionResetError:
            return "reset"

    assert await stage.thread(client) == "reset"


async def abort_works_while_closing(stage):
    factory = RecorderFactory()
    _, name = stage.listening(factory)
    stage.keep(await stage.thread(dial, name))
    protocol = await factory.built()
    for _ in range(20):
        protocol.transport.write(MEGABYTE)
    protocol.transport.loseConnection()
    await stage.sleep(0.05)
    assert protocol.lost is None, "the peer reads nothing, so all cannot have been sent"
    protocol.transport.abortConnection()
    assert (await protocol.end()).check(error.ConnectionAborted)


async def nothing_is_delivered_after_the_connection_was_given_up(stage):
    def react(protocol, data):
        protocol.transport.loseConnection()

    factory = RecorderFactory(react)
    _, name = stage.listening(factory)

    def client():
        with dial(name) as sock:
            sock.sendall(b"a")
            assert read_all(sock) == b""
            with contextlib.suppress(OSError):
                sock.sendall(b"b")

    await stage.thread(client)
    await (await factory.built()).end()
    assert factory.protocols[0].received == b"a"


async def pausing_stops_delivery_and_resuming_goes_on(stage):
    factory = RecorderFactory(made=lambda protocol: protocol.transport.pauseProducing())
    _, name = stage.listening(factory)
    with await stage.thread(dial, name) as sock:
        protocol = await factory.built()
        protocol.transport.pauseProducing()
        sock.sendall(b"hello")
        await stage.sleep(0.05)
        assert protocol.received == b""
        protocol.transport.resumeProducing()
        protocol.transport.resumeProducing()
        await protocol.until(lambda protocol: protocol.received == b"hello")


async def a_protocol_may_pause_from_inside_of_dataReceived(stage):
    def react(protocol, data):
        protocol.transport.pauseProducing()

    factory = RecorderFactory(react)
    _, name = stage.listening(factory)
    with await stage.thread(dial, name) as sock:
        protocol = await factory.built()
        sock.sendall(b"a")
        await protocol.until(lambda protocol: protocol.received == b"a")
        sock.sendall(b"b")
        await stage.sleep(0.05)
        assert protocol.received == b"a"
        protocol.transport.resumeProducing()
        await protocol.until(lambda protocol: protocol.received == b"ab")


async def the_write_side_may_be_closed_alone(stage):
    def made(protocol):
        protocol.transport.write(b"bye")
        protocol.transport.loseWriteConnection()

    factory = RecorderFactory(made=made)
    _, name = stage.listening(factory)

    def client():
        with dial(name) as sock:
            assert read_all(sock) == b"bye"
            sock.sendall(b"still here")

    await stage.thread(client)
    assert (await (await factory.built()).end()).check(error.ConnectionDone)
    assert factory.protocols[0].received == b"still here"


@only("uvloop", "asyncio")
async def another_protocol_may_take_over(stage):
    heir = Recorder(echo)

    def react(protocol, data):
        protocol.transport.takeover(heir)
        heir.makeConnection(protocol.transport)
        heir.dataReceived(data)

    factory = RecorderFactory(react)
    _, name = stage.listening(factory)

    def client():
        with dial(name) as sock:
            sock.sendall(b"one")
            assert read_exactly(sock, 3) == b"one"
            sock.sendall(b"two")
            assert read_exactly(sock, 3) == b"two"

    await stage.thread(client)
    await heir.end()
    assert heir.received == b"onetwo"
    assert factory.protocols[0].received == b"one"
    assert factory.protocols[0].lost is None


@only("uvloop", "asyncio")
async def another_protocol_may_take_over_while_paused(stage):
    heir = Recorder(echo)
    factory = RecorderFactory(lambda protocol, data: protocol.transport.pauseProducing())
    _, name = stage.listening(factory)
    with await stage.thread(dial, name) as sock:
        protocol = await factory.built()
        sock.sendall(b"one")
        await protocol.until(lambda protocol: protocol.received == b"one")
        sock.sendall(b"two")
        await stage.sleep(0.02)
        protocol.transport.takeover(heir)
        heir.makeConnection(protocol.transport)
        await stage.sleep(0.02)
        assert heir.received == b""
        heir.transport.resumeProducing()
        assert await stage.thread(read_exactly, sock, 3) == b"two"
    await heir.end()


@only("uvloop", "asyncio")
async def no_frame_lies_between_the_loop_and_the_protocol(stage):
    frames = []
    writers = []

    def react(protocol, data):
        frame = sys._getframe(2)
        while frame is not None:
            frames.append(frame.f_code.co_filename)
            frame = frame.f_back
        writers.append(protocol.transport.write)

    factory = RecorderFactory(react)
    _, name = stage.listening(factory)

    def client():
        with dial(name) as sock:
            sock.sendall(b"x")

    await stage.thread(client)
    await (await factory.built()).end()
    assert not any("suuupra_gateway" in name for name in frames), frames
    assert all(hasattr(write.__self__, "get_write_buffer_size") for write in writers), "not the loop's own method"
