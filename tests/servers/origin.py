"""
An HTTP/1.1 origin that can behave badly: ``python -m tests.servers.origin [--unix PATH]`` prints its port.

============================  ==========================================================================================
``/json``                     a small JSON object, 90 bytes
``/echo``                     the head it saw and what it knows of the body, as JSON
``/slow?seconds=S``           answers after S seconds
``/stream?chunks=N&pause=S``  N chunks of 1 KiB, S seconds apart, chunked
``/bytes?n=N``                N bytes with a Content-Length
``/upload``                   reads the body; how many bytes it had and their SHA-256
``/status/NNN``               that status
``/reset``                    resets the connection instead of an answer
``/reset-late``               resets it in the middle of the body
``/stall``                    takes the request and never answers; ``/stall-late`` stalls in the middle of the body
``/short``                    announces more bytes than it sends, and closes
``/long``                     sends more bytes than it announced
``/garbage``                  no HTTP at all
``/close``                    answers and closes without having said so
============================  ==========================================================================================
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import socket
import struct
import sys
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

JSON = json.dumps({"service": "origin", "ok": True, "filling": "x" * 46}).encode()


@dataclass
class Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: asyncio.StreamReader
    length: int | None  # None: chunked

    def get(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known.lower() == name), None)

    async def pieces(self):
        if self.length is not None:
            left = self.length
            while left:
                piece = await self.body.read(min(left, 65536))
                if not piece:
                    raise EOFError
                left -= len(piece)
                yield piece
            return
        while True:
            size = int((await self.body.readline()).split(b";")[0], 16)
            piece = await self.body.readexactly(size)
            if not size:
                while (await self.body.readline()).strip():
                    pass
                return
            await self.body.readexactly(2)
            yield piece

    async def drain(self) -> tuple[int, str]:
        count, digest = 0, hashlib.sha256()
        async for piece in self.pieces():
            count += len(piece)
            digest.update(piece)
        return count, digest.hexdigest()


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    request = Request(method, target, headers, reader, 0)
    if (request.get("transfer-encoding") or "").lower() == "chunked":
        request.length = None
    else:
        request.length = int(request.get("content-length") or 0)
    return request


def answer(
    body: bytes, status: int = 200, kind: str = "application/json", *extra: str, length: int | None = None
) -> bytes:
    head = [
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Status'}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body) if length is None else length}",
        *extra,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Origin:
    def __init__(self, name: str = "origin") -> None:
        self.name = name
        self.connections = 0
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (request := await read_request(reader)) is not None:
                self.requests += 1
                if (request.get("expect") or "").lower() == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                if not await self.one(request, writer):
                    break
                await writer.drain()
        except (ConnectionError, EOFError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def one(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer; whether the connection stays open."""
        url = urlsplit(request.target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        path = url.path
        headless = request.method == "HEAD"
        if path == "/upload":
            count, digest = await request.drain()
            writer.write(answer(json.dumps({"bytes": count, "sha256": digest}).encode()))
            return True
        if path == "/reset":
            reset(writer)
            return False
        if path == "/stall":
            await asyncio.sleep(3600)
        count, digest = await request.drain()
        if path == "/echo":
            seen = {
                "origin": self.name,
                "method": request.method,
                "target": request.target,
                "headers": request.headers,
                "body": {"bytes": count, "sha256": digest},
            }
            body = answer(json.dumps(seen).encode())
            writer.write(body[: body.index(b"\r\n\r\n") + 4] if headless else body)
        elif path == "/slow":
            await asyncio.sleep(float(query.get("seconds", "1")))
            writer.write(answer(JSON))
        elif path == "/stream":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(int(query.get("chunks", "5"))):
                writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(float(query.get("pause", "0.1")))
            writer.write(b"0\r\n\r\n")
        elif path == "/bytes":
            left = int(query.get("n", "0"))
            writer.write(answer(b"", kind="application/octet-stream", length=left))
            block = b"x" * 65536
            while left and not headless:
                writer.write(block[:left])
                left -= min(left, len(block))
                await writer.drain()
        elif path.startswith("/status/"):
            status = int(path[8:])
            writer.write(answer(b"" if status in (204, 304) else JSON, status))
        elif path == "/reset-late":
            writer.write(answer(b"x" * 100, length=1000))
            await writer.drain()
            await asyncio.sleep(0.05)
            reset(writer)
            return False
        elif path == "/stall-late":
            writer.write(answer(b"x" * 100, length=1000))
            await writer.drain()
            await asyncio.sleep(3600)
        elif path == "/short":
            writer.write(answer(b"x" * 100, length=1000))
            return False
        elif path == "/long":
            writer.write(answer(b"x" * 1000, length=100))
        elif path == "/garbage":
            writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            return False
        elif path == "/close":
            writer.write(answer(JSON))
            return False
        else:
            body = answer(JSON)
            writer.write(body[: body.index(b"\r\n\r\n") + 4] if headless else body)
        return True


async def main(options: argparse.Namespace) -> None:
    origin = Origin(options.name)
    if options.unix:
        await asyncio.start_unix_server(origin.serve, options.unix, backlog=1024)
        print(options.unix, flush=True)
    else:
        server = await asyncio.start_server(origin.serve, options.host, 0, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)
    # Whoever started us holds the other end: when it is gone, so are we.
    watch = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(watch), sys.stdin)
    await watch.read()
    os._exit(0)  # whoever is being stalled stays so


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--unix", default="")
    parser.add_argument("--name", default="origin")
    chosen = parser.parse_args()
    try:
        import uvloop

        uvloop.run(main(chosen))
    except ImportError:
        asyncio.run(main(chosen))
