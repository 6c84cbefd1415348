"""A gibibyte up and a gibibyte down, every byte of it, and next to no memory in the workers."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.live.harness import gateway
from tests.live.wire import Wire, forget_peak, memory
from tests.servers.raw_origin import RawOrigin

MIB = 1 << 20
GROWTH = 20 * MIB
_BLOCK = hashlib.shake_256(b"suuupra").digest(MIB - 8)


def blocks(size):
    """``size`` bytes, a mebibyte at a time, no two of them alike."""
    for number in range(size // MIB):
        yield number.to_bytes(8, "big")
        yield _BLOCK


def digest_of(size):
    digest = hashlib.sha256()
    for block in blocks(size):
        digest.update(block)
    return digest.hexdigest()


@pytest.fixture(scope="module")
def origin():
    with RawOrigin() as made:
        yield made


@pytest.fixture(scope="module")
def gw(tmp_path_factory, origin):
    directory = tmp_path_factory.mktemp("bodies")
    with gateway(directory) as made:
        made.write(f"""
gateway: {{workers: 2}}
admin: {{address: 127.0.0.1:0}}
access-log: {{path: "off"}}
listeners: [{{name: public, address: 127.0.0.1:0, limits: {{body: 2GiB}}}}]
upstreams:
  origin: {{endpoints: ["{origin.url}"], timeouts: {{total: 120s}}}}
routes:
  - {{name: all, auth: none, target: {{proxy: {{upstream: origin}}}}}}
""")
        made.start()
        for _ in range(20):  # both workers have connections, and have allocated what they always do
            assert made.fetch("/json").status == 200
        yield made


@pytest.fixture(autouse=True)
def memory_stays_flat(gw):
    workers = gw.pids()
    before = {}
    for pid in workers:
        forget_peak(pid)
        before[pid] = memory(pid)
    yield
    growth = {pid: memory(pid, "VmHWM") - before[pid] for pid in workers}
    assert max(growth.values()) < GROWTH, growth
    assert gw.pids() == workers


def receives(talk, request):
    """Count and hash a body piece by piece, whatever its framing."""
    talk.keeps = False
    digest, count = hashlib.sha256(), 0

    def take(size):
        nonlocal count
        count += size
        while size:
            piece = talk.read(min(size, MIB))
            if not piece:
                raise EOFError
            digest.update(piece)
            size -= len(piece)

    if request.get("transfer-encoding") == "chunked":
        while size := int(talk.until(b"\r\n"), 16):
            take(size)
            assert talk.exactly(2) == b"\r\n"
        assert talk.until(b"\r\n") == b"\r\n"
    else:
        take(int(request.get("content-length")))
    talk.answer(b"%d %s" % (count, digest.hexdigest().encode()))


def test_a_gibibyte_up(gw, origin):
    size = 1024 * MIB
    path = origin.at(receives)
    with ThreadPoolExecutor() as aside, Wire(gw.address()) as client:
        expected = aside.submit(digest_of, size)
        client.head("POST", path, f"Content-Length: {size}")
        for block in blocks(size):
            client.send(block)
        assert client.answer().body == f"{size} {expected.result()}".encode()


def test_a_quarter_of_it_up_in_chunks(gw, origin):
    size = 256 * MIB
    path = origin.at(receives)
    with Wire(gw.address()) as client:
        client.head("POST", path, "Transfer-Encoding: chunked")
        for block in blocks(size):
            client.send(b"%x\r\n" % len(block))
            client.send(block)
            client.send(b"\r\n")
        client.send(b"0\r\n\r\n")
        assert client.answer().body == f"{size} {digest_of(size)}".encode()


def test_a_gibibyte_down(gw, origin):
    size = 1024 * MIB

    def script(talk, request):
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for block in blocks(size):
            talk.send(block)

    path = origin.at(script)
    digest = hashlib.sha256()
    with ThreadPoolExecutor() as aside, Wire(gw.address()) as client:
        expected = aside.submit(digest_of, size)
        client.head("GET", path)
        assert client.answer(each=digest.update).get("content-length") == str(size)
        assert digest.hexdigest() == expected.result()


def test_a_quarter_of_it_down_in_chunks(gw, origin):
    size = 256 * MIB

    def script(talk, request):
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for block in blocks(size):
            talk.send(b"%x\r\n" % len(block))
            talk.send(block)
            talk.send(b"\r\n")
        talk.send(b"0\r\nX-Sum: 1\r\n\r\n")

    path = origin.at(script)
    digest = hashlib.sha256()
    with Wire(gw.address()) as client:
        client.head("GET", path)
        answer = client.answer(each=digest.update)
    assert [(name.lower(), value) for name, value in answer.trailers] == [("x-sum", "1")]
    assert digest.hexdigest() == digest_of(size)


def test_both_at_once_on_one_connection(gw, origin):
    """An origin that answers while it still reads: neither direction waits for the other."""
    size = 64 * MIB

    def script(talk, request):
        talk.keeps = False
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        left = size
        while left:
            piece = talk.read()
            if not piece:
                return
            talk.send(piece)
            left -= len(piece)

    path = origin.at(script)
    digest = hashlib.sha256()
    with Wire(gw.address()) as client:
        client.head("POST", path, f"Content-Length: {size}")
        sender = threading.Thread(target=lambda: [client.send(block) for block in blocks(size)])
        sender.start()
        client.answer(each=digest.update)
        sender.join()
        assert digest.hexdigest() == digest_of(size)
        assert client.get("/json").status == 200
