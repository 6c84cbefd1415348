"""
Writing lines to files, pipes and sockets without ever waiting for anybody.
"""

from __future__ import annotations

import json
import os
import select
import socket

import pytest
from twisted.internet.task import Clock

from suuupra_gateway import logs
from suuupra_gateway.config.model import AccessLogSpec
from suuupra_gateway.logs import AccessLog
from suuupra_gateway.sink import FileSink, StreamSink
from tests.exchanges import Settled


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue


def fill(sink) -> int:
    """Write until the reader has had enough."""
    written = 0
    try:
        while True:
            written += sink.write(b"x" * sink.piece)
    except BlockingIOError:
        return written


def test_a_full_pipe_is_not_waited_for_and_stays_as_it_was_for_others(pipe):
    sink = StreamSink(pipe[1])

    assert fill(sink) > 0

    assert os.get_blocking(pipe[1])
    sink.close()


def test_a_pipe_gets_pieces_that_it_takes_whole(pipe):
    sink = StreamSink(pipe[1])

    assert sink.write(b"x" * 100_000) == sink.piece == select.PIPE_BUF
    sink.close()


def test_a_pipe_that_nobody_reads_any_more_is_an_error(pipe):
    sink = StreamSink(pipe[1])
    os.close(pipe[0])

    with pytest.raises(BrokenPipeError):
        sink.write(b"x")


def test_a_full_socket_is_not_waited_for_and_stays_as_it_was_for_others():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sink = StreamSink(ours.fileno())

        assert fill(sink) > 0

        assert ours.getblocking()
        sink.reopen()
        sink.close()
        theirs.setblocking(False)
        assert theirs.recv(10) == b"x" * 10


def test_a_stream_into_a_file_is_written_in_order_with_what_others_write(tmp_path):
    with open(tmp_path / "out", "wb") as file:
        sink = StreamSink(file.fileno())
        sink.write(b"one\n")
        os.write(file.fileno(), b"two\n")
        sink.write(b"three\n")
        sink.close()

    assert (tmp_path / "out").read_bytes() == b"one\ntwo\nthree\n"


def test_a_stream_that_does_not_exist_is_an_error():
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)

    with pytest.raises(OSError):
        StreamSink(writing)


def test_a_file_can_be_a_fifo_and_then_takes_pieces_too(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = FileSink(str(path))

    assert sink.write(b"x" * 100_000) == select.PIPE_BUF
    fill(sink)

    sink.close()
    os.close(reading)


def test_where_proc_is_missing_a_pipe_is_written_as_it_is(pipe, monkeypatch):
    def absent(*arguments):
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", absent)

    sink = StreamSink(pipe[1])

    assert sink.write(b"x") == 1
    sink.close()


@pytest.mark.parametrize(("path", "prefix"), [("-", b""), ("journald", b"<6>")])
def test_workers_that_share_a_pipe_never_mix_their_lines(pipe, monkeypatch, path, prefix):
    monkeypatch.setattr(logs, "StreamSink", lambda fd: StreamSink(pipe[1]))
    spec = AccessLogSpec(path=path)
    workers = [AccessLog(spec, Clock(), worker=number) for number in range(2)]
    raw = b""

    for _ in range(20):
        for worker in workers:
            for _ in range(30):
                worker.record(Settled(headers=[(b"user-agent", b"x" * 500)]))
            worker.flush()
        raw += os.read(pipe[0], 1 << 20)
    for _ in range(20):
        for worker in workers:
            worker.flush()
        try:
            raw += os.read(pipe[0], 1 << 20)
        except BlockingIOError:
            break

    lines = raw.splitlines()
    assert len(lines) == sum(worker.written for worker in workers) > 100
    for line in lines:
        assert line.startswith(prefix)
        json.loads(line[len(prefix) :])
    for worker in workers:
        worker.close()
