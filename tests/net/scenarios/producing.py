"""
Producers on a connection, pushing and pulling.
"""

from twisted.internet import error

from tests.net.stage import MEGABYTE, PushProducer, RecorderFactory, dial, only, read_all


async def a_streaming_producer_follows_the_peers_pace(stage):
    def made(protocol):
        producer = protocol.producer = PushProducer(protocol.transport, 2000)
        protocol.transport.registerProducer(producer, True)

        def done():
            protocol.transport.unregisterProducer()
            protocol.transport.loseConnection()

        producer.done = done
        producer.resumeProducing()

    factory = RecorderFactory(made=made)
    _, name = stage.listening(factory)
    with await stage.thread(dial, name) as sock:
        producer = (await factory.built()).producer
        await stage.sleep(0.1)
        assert not producer.running
        assert producer.left > 1000, "it should have been paused soon"
        total = 2000 * 16384
        assert len(await stage.thread(read_all, sock)) == total
        assert (await (await factory.built()).end()).check(error.ConnectionDone)
        assert "stop" not in producer.events
        assert "pause" in producer.events


async def a_producer_registered_on_a_full_transport_is_paused_at_once(stage):
    factory = RecorderFactory()
    _, name = stage.listening(factory)
    with await stage.thread(dial, name) as sock:
        protocol = await factory.built()
        for _ in range(20):
            protocol.transport.write(MEGABYTE)
        producer = PushProducer(protocol.transport, 1)
        protocol.transport.registerProducer(producer, True)
        if producer.events == []:
            protocol.transport.write(b"x")  # Twisted's own transports notice with the next write
        else:
            protocol.transport.write(b"x")
        assert producer.events == ["pause"]
        producer.done = lambda: (protocol.transport.unregisterProducer(), protocol.transport.loseConnection())
        assert len(await stage.thread(read_all, sock)) == 20 * len(MEGABYTE) + 1 + 16384
        await protocol.end()


async def a_pull_producer_is_asked_for_each_piece(stage):
    class Pull:
        left = 500

        def __init__(self, transport):
            self.transport = transport

        def resumeProducing(self):
            self.left -= 1
            self.transport.write(MEGABYTE[:16384])
            if not self.left:
                self.transport.unregisterProducer()
                self.transport.loseConnection()

        def stopProducing(self):
            self.transport.unregisterProducer()

    def made(protocol):
        protocol.producer = Pull(protocol.transport)
        protocol.transport.registerProducer(protocol.producer, False)

    factory = RecorderFactory(made=made)
    _, name = stage.listening(factory)
    with await stage.thread(dial, name) as sock:
        producer = (await factory.built()).producer
        await stage.sleep(0.1)
        assert producer.left > 0
        assert len(await stage.thread(read_all, sock)) == 500 * 16384


async def a_second_producer_is_refused_and_one_on_a_lost_connection_stopped(stage):
    factory = RecorderFactory()
    _, name = stage.listening(factory)
    sock = await stage.thread(dial, name)
    protocol = await factory.built()
    transport = protocol.transport
    first, second, third = PushProducer(transport, 0), PushProducer(transport, 0), PushProducer(transport, 0)
    transport.registerProducer(first, True)
    try:
        transport.registerProducer(second, True)
    except RuntimeError:
        pass
    else:
        raise AssertionError("two producers")
    sock.close()
    await protocol.end()
    assert first.events == ["stop"]
    transport.registerProducer(third, True)
    assert third.events == ["stop"]


@only("uvloop", "asyncio")  # as ITransport says; Twisted's own transports do so only while the producer is paused
async def closing_waits_for_a_registered_producer(stage):
    factory = RecorderFactory()
    _, name = stage.listening(factory)
    with await stage.thread(dial, name) as sock:
        protocol = await factory.built()
        producer = PushProducer(protocol.transport, 0)
        protocol.transport.registerProducer(producer, True)
        protocol.transport.loseConnection()
        await stage.sleep(0.02)
        assert protocol.lost is None
        protocol.transport.write(b"last words")
        protocol.transport.unregisterProducer()
        assert await stage.thread(read_all, sock) == b"last words"
        assert (await protocol.end()).check(error.ConnectionDone)


async def stopping_a_transport_as_a_producer_closes_it(stage):
    factory = RecorderFactory(made=lambda protocol: protocol.transport.stopProducing())
    _, name = stage.listening(factory)
    with await stage.thread(dial, name) as sock:
        assert await stage.thread(read_all, sock) == b""
