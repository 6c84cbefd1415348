"""
A service behind the gateway that lets nobody in who did not come through it: ``python -m tests.servers.guarded FILE wsgi`` prints
its address; ``twisted`` is the same with resources.

Where the gateway's keys are is read from FILE when they are needed. ``/healthz`` is open; everything else says who calls.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from twisted.web.resource import Resource
from twisted.web.server import Site

from suuupra_gateway.assertion.guard import KEY, GatewayKeys, Guard
from suuupra_gateway.assertion.resource import GuardedResource, ICall
from suuupra_gateway.assertion.wsgi import GuardedApp


class Quiet(WSGIRequestHandler):
    def log_message(self, format, *args):
        """Nothing."""


def said(call):
    if call is None:
        return b'{"open": true}'
    known = {
        "subject": call.subject,
        "credential": call.credential,
        "provider": call.provider,
        "scopes": sorted(call.scopes),
        "roles": sorted(call.roles),
        "attempt": call.attempt,
        "left": call.left(),
    }
    return json.dumps(known).encode()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [said(environ.get(KEY))]


class Page(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.setHeader(b"content-type", b"application/json")
        return said(ICall(request, None))


def serve_resources(guard):
    from twisted.internet import reactor

    port = reactor.listenTCP(0, Site(GuardedResource(Page(), guard)), interface="127.0.0.1")
    print(f"127.0.0.1:{port.getHost().port}", flush=True)
    reactor.callInThread(lambda: (sys.stdin.read(), reactor.callFromThread(reactor.stop)))
    reactor.run()


def serve_wsgi(guard):
    server = make_server("127.0.0.1", 0, GuardedApp(app, guard), WSGIServer, Quiet)
    print(f"127.0.0.1:{server.server_port}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


def main():
    def fetch(path):
        with urllib.request.urlopen(Path(path).read_text(), timeout=10) as answer:
            return answer.read()

    guard = Guard(
        GatewayKeys(sys.argv[1], fetch=fetch), issuer="https://gw.example", audience="guarded", open_paths=["/healthz"]
    )
    {"wsgi": serve_wsgi, "twisted": serve_resources}[sys.argv[2]](guard)


if __name__ == "__main__":
    main()
