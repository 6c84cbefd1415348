"""
A service behind the gateway that lets nobody in who did not come through it: ``python -m tests.servers.guarded FILE`` prints its
address.

Where the gateway's keys are is read from FILE when they are needed. ``/healthz`` is open; everything else says who calls.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from suuupra_gateway.assertion.guard import KEY, GatewayKeys, Guard
from suuupra_gateway.assertion.wsgi import GuardedApp


class Quiet(WSGIRequestHandler):
    def log_message(self, format, *args):
        """Nothing."""


def app(environ, start_response):
    call = environ.get(KEY)
    said = {"open": True}
    if call is not None:
        said = {
            "subject": call.subject,
            "credential": call.credential,
            "provider": call.provider,
            "scopes": sorted(call.scopes),
            "roles": sorted(call.roles),
            "attempt": call.attempt,
            "left": call.left(),
            "fields": {name: value for name, value in environ.items() if name.startswith("HTTP_")},
        }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(said).encode()]


def main():
    def fetch(path):
        with urllib.request.urlopen(Path(path).read_text(), timeout=10) as answer:
            return answer.read()

    guard = Guard(
        GatewayKeys(sys.argv[1], fetch=fetch), issuer="https://gw.example", audience="guarded", open_paths=["/healthz"]
    )
    server = make_server("127.0.0.1", 0, GuardedApp(app, guard), WSGIServer, Quiet)
    print(f"127.0.0.1:{server.server_port}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
