"""
A small service to put behind the gateway: ``python -m suuupra_gateway.demo --name users --port 9101``.

Plain Twisted Web, so that it also shows what such a service looks like. Pages:

====================================  ==================================================================
``/``                                 what there is
``/users``, ``/users/ID``             JSON
``/echo`` (any method, any path)      the request as it arrived here
``/slow?seconds=1``                   an answer that takes a while
``/stream?events=5&pause=0.5``        server-sent events, one by one
``/upload`` (POST, PUT)               length and SHA-256 of the body
``/bytes?size=1048576``               that many bytes
``/status/CODE``                      an answer with that status
``/flaky``                            503 and 200 in turn
====================================  ==================================================================
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet import task
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

_PEOPLE: Final = {
    b"1": {"id": 1, "name": "Ada", "since": 1843},
    b"2": {"id": 2, "name": "Grace", "since": 1952},
    b"7": {"id": 7, "name": "Barbara", "since": 1968},
}
_LONGEST_PAUSE: Final = 60.0
_MOST_BYTES: Final = 1 << 30
_PIECE: Final = b"0123456789abcdef" * 4096


def service(name: str, reactor: IReactorTime) -> Site:
    """The service called ``name``; the name is in its answers."""
    root = Answer(lambda request: {"service": name, "pages": sorted(page.decode() for page in root.children if page)})
    root.putChild(b"", root)
    root.putChild(b"users", Users(name))
    root.putChild(b"echo", Echo(name))
    root.putChild(b"slow", Slow(name, reactor))
    root.putChild(b"stream", Stream(name, reactor))
    root.putChild(b"upload", Upload(name))
    root.putChild(b"bytes", Bytes())
    root.putChild(b"status", Status(name))
    root.putChild(b"flaky", Flaky(name))
    return Quiet(root, reactor)


def board() -> Resource:
    """A tree for ``mount`` targets: served by the gateway's own workers, without a service behind it."""
    root = Answer(lambda request: {"mounted": True, "worker": os.getpid(), "below": ["form"]})
    root.putChild(b"", root)
    root.putChild(b"form", Form())
    return root


class Quiet(Site):
    """Logs no requests: the gateway does."""

    def __init__(self, root: Resource, reactor: IReactorTime) -> None:
        super().__init__(root, reactor=reactor)  # type: ignore[no-untyped-call]  # Twisted's

    def log(self, request: Any) -> None:
        """Nothing."""


class _Page(Resource):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's

    def getChild(self, path: bytes, request: Any) -> Resource:
        return Status("demo", 404)


class Answer(_Page):
    """JSON, made when asked."""

    def __init__(self, make: Callable[[Any], object]) -> None:
        super().__init__()
        self._make = make

    def render_GET(self, request: Any) -> bytes:
        return _json(request, self._make(request))


class Users(_Page):
    """``/users`` and below."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def getChild(self, path: bytes, request: Any) -> Resource:
        person = _PEOPLE.get(path)
        if person is None:
            return Status(self._name, 404)
        return Answer(lambda request: {**person, "service": self._name})

    def render_GET(self, request: Any) -> bytes:
        return _json(request, {"service": self._name, "users": list(_PEOPLE.values())})


class Echo(_Page):
    """Everything about the request."""

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def render(self, request: Any) -> bytes:
        body = request.content.read(64 * 1024)
        return _json(
            request,
            {
                "service": self._name,
                "method": request.method.decode("latin-1"),
                "uri": request.uri.decode("latin-1"),
                "headers": [
                    [name.decode("latin-1"), value.decode("latin-1")]
                    for name, values in request.requestHeaders.getAllRawHeaders()
                    for value in values
                ],
                "body": body.decode("utf-8", "replace"),
            },
        )


class Slow(_Page):
    """Answers after ``seconds``."""

    def __init__(self, name: str, reactor: IReactorTime) -> None:
        super().__init__()
        self._name = name
        self._reactor = reactor

    def render_GET(self, request: Any) -> int:
        seconds = _number(request, b"seconds", 1.0, _LONGEST_PAUSE)

        def answer() -> None:
            request.write(_json(request, {"service": self._name, "slept": seconds}))
            request.finish()

        call = self._reactor.callLater(seconds, answer)
        request.notifyFinish().addErrback(lambda _: call.cancel())
        return NOT_DONE_YET


class Stream(_Page):
    """``events`` server-sent events, ``pause`` seconds apart."""

    def __init__(self, name: str, reactor: IReactorTime) -> None:
        super().__init__()
        self._name = name
        self._reactor = reactor

    def render_GET(self, request: Any) -> int:
        events = int(_number(request, b"events", 5, 1000))
        pause = _number(request, b"pause", 0.5, _LONGEST_PAUSE)
        request.setHeader(b"content-type", b"text/event-stream")
        count = itertools.count(1)

        def send() -> None:
            number = next(count)
            if number > events:
                loop.stop()
                return
            request.write(f"id: {number}\ndata: {json.dumps({'service': self._name, 'event': number})}\n\n".encode())

        loop = task.LoopingCall(send)
        loop.clock = self._reactor
        left: list[object] = []

        def leave(reason: object) -> None:
            left.append(reason)
            if loop.running:
                loop.stop()

        request.notifyFinish().addErrback(leave)
        loop.start(pause).addCallback(lambda _: None if left else request.finish())
        return NOT_DONE_YET


class Upload(_Page):
    """What came, in short."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def render_POST(self, request: Any) -> bytes:
        digest, length = hashlib.sha256(), 0
        while piece := request.content.read(len(_PIECE)):
            digest.update(piece)
            length += len(piece)
        return _json(request, {"service": self._name, "bytes": length, "sha256": digest.hexdigest()})

    render_PUT = render_POST


class Bytes(_Page):
    """``size`` bytes, as fast as they are taken."""

    def render_GET(self, request: Any) -> int:
        size = int(_number(request, b"size", 1 << 20, _MOST_BYTES))
        request.setHeader(b"content-type", b"application/octet-stream")
        request.setHeader(b"content-length", b"%d" % size)
        if size and request.method != b"HEAD":
            Pieces(request, size)
        else:
            request.finish()
        return NOT_DONE_YET


@implementer(IPushProducer)
class Pieces:
    """Writes ``size`` bytes, piece by piece, as long as there is room for them."""

    def __init__(self, request: Any, size: int) -> None:
        self._request = request
        self._left = size
        self._paused = False
        request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """There is room."""
        self._paused = False
        while self._left and not self._paused:
            piece = _PIECE[: self._left]
            self._left -= len(piece)
            self._request.write(piece)
            if not self._left:
                self._request.unregisterProducer()
                self._request.finish()

    def pauseProducing(self) -> None:
        """There is none."""
        self._paused = True

    def stopProducing(self) -> None:
        """The client left."""
        self._paused = True
        self._left = 0


class Status(_Page):
    """``/status/CODE``."""

    isLeaf = True

    def __init__(self, name: str, code: int | None = None) -> None:
        super().__init__()
        self._name = name
        self._code = code

    def render(self, request: Any) -> bytes:
        code = self._code
        if code is None:
            text = b"".join(request.postpath)
            code = int(text) if text.isdigit() and 200 <= int(text) <= 599 else 404
        request.setResponseCode(code)
        return b"" if code in (204, 304) else _json(request, {"service": self._name, "status": code})


class Flaky(_Page):
    """Fails every other time; a gateway that tries again hides it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._turns = itertools.count()

    def render_GET(self, request: Any) -> bytes:
        turn = next(self._turns)
        request.setResponseCode(200 if turn % 2 else 503)
        return _json(request, {"service": self._name, "turn": turn})


class Form(_Page):
    """A form of the classic kind."""

    def render_GET(self, request: Any) -> bytes:
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        return (
            b'<!doctype html><title>Form</title><form method="post"><input name="word"><button>Send</button></form>\n'
        )

    def render_POST(self, request: Any) -> bytes:
        words = [word.decode("utf-8", "replace") for word in request.args.get(b"word", [])]
        return _json(request, {"words": words})


def _json(request: Any, value: object) -> bytes:
    request.setHeader(b"content-type", b"application/json")
    body = json.dumps(value).encode() + b"\n"
    request.setHeader(b"content-length", b"%d" % len(body))
    return body


def _number(request: Any, name: bytes, default: float, most: float) -> float:
    """A number of the query between 0 and ``most``."""
    try:
        return max(0.0, min(float(request.args[name][0]), most))
    except (KeyError, ValueError):
        return default


def main(arguments: Sequence[str]) -> None:
    """Serve until terminated. The first line of output is the port."""
    parser = argparse.ArgumentParser(
        prog="python -m suuupra_gateway.demo", description="A small service for the gateway."
    )
    parser.add_argument("--name", default="demo", help="what it calls itself in its answers")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    options = parser.parse_args(arguments)

    from twisted.internet import reactor as running

    reactor: Any = running
    port = reactor.listenTCP(options.port, service(options.name, reactor), interface=options.host)
    sys.stdout.write(f"{port.getHost().port}\n")
    sys.stdout.flush()
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
