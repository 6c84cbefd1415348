"""
Whoever decides about callers, and can be made to fail: ``python -m tests.servers.identity [--port N]`` prints its port.

===============================  =======================================================================================
``POST /introspect``             RFC 7662: tokens that begin with ``good`` are active, their ``sub`` is the token itself;
                                 ``good-for-S-…`` expire after S seconds
``GET /auth``                    forward-auth: 200 with ``X-User-Id`` for ``Cookie: session=good…``, else 401
``GET /mode?name=MODE``          from now on: ``well``, ``slow``, ``garbage``, ``reset`` or a status such as ``500``
``GET /refuse?name=NAME``        from now on ``NAME`` is refused
``GET /asked``                   how often it was asked, by path and by what was shown
===============================  =======================================================================================
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from urllib.parse import parse_qs, urlsplit

from tests.servers.origin import answer, read_request, reset

SLOW = 30.0
"""Seconds."""


class Identity:
    def __init__(self) -> None:
        self.mode = "well"
        self.refused: set[str] = set()
        self.asked: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await read_request(reader)) is not None:
                body = b"".join([piece async for piece in request.pieces()])
                url = urlsplit(request.target)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                if url.path in ("/introspect", "/auth"):
                    if url.path == "/introspect":
                        shown = parse_qs(body.decode()).get("token", [""])[0]
                    else:
                        shown = (request.get("cookie") or "").removeprefix("session=")
                    self.asked[f"{url.path} {shown}"] += 1
                    if not await self.decide(url.path, shown, writer):
                        break
                elif url.path == "/asked":
                    writer.write(answer(json.dumps(self.asked).encode()))
                else:
                    if url.path == "/mode":
                        self.mode = query["name"]
                    else:
                        self.refused.add(query["name"])
                    writer.write(answer(b"{}"))
                await writer.drain()
        except (ConnectionError, EOFError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def decide(self, path: str, shown: str, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays open."""
        if self.mode == "slow":
            await asyncio.sleep(SLOW)
        elif self.mode == "reset":
            reset(writer)
            return False
        elif self.mode == "garbage":
            writer.write(answer(b"<html>Welcome to nginx!</html>", 200 if path == "/introspect" else 404))
            return True
        elif self.mode != "well":
            writer.write(answer(b"no", int(self.mode)))
            return True
        good = shown.startswith("good") and shown not in self.refused
        if path == "/auth":
            found = answer(b"", 200, "text/plain", f"X-User-Id: {shown}") if good else answer(b"who are you?", 401)
            writer.write(found)
            return True
        told: dict[str, object] = {"active": good}
        if good:
            told["sub"] = shown
            if shown.startswith("good-for-"):
                told["exp"] = time.time() + float(shown.split("-")[2])
        writer.write(answer(json.dumps(told).encode()))
        return True


async def main(port: int) -> None:
    server = await asyncio.start_server(Identity().serve, "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    watch = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(watch), sys.stdin)
    await watch.read()
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(main(parser.parse_args().port))
