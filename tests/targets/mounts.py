"""
The same resource tree twice: ``python -m tests.targets.mounts DIRECTORY`` serves it by a stock `Site` and mounted in the gateway.

Prints two ports in one line, then a line whenever a client of ``/tree/gone`` has left. In both the tree is below ``/tree``.
"""

import socket
import sys
from types import SimpleNamespace

from suuupra_gateway.net import reactor as reactors

if __name__ == "__main__":
    reactors.install()

from twisted.web import static
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.util import Redirect

PIECE = b"0123456789abcdef" * 1024


class Page(Resource):
    """What the request looked like, for every method that has a body or not."""

    isLeaf = True

    def render_GET(self, request):
        seen = {
            "method": request.method,
            "uri": request.uri,
            "path": request.path,
            "prepath": request.prepath,
            "postpath": request.postpath,
            "args": sorted(request.args.items()),
            "content": request.content.read(),
            "cookies": sorted(request.received_cookies.items()),
            "headers": sorted(request.requestHeaders.getAllRawHeaders()),
            "proto": request.clientproto,
            "host": request.getRequestHostname(),
            "secure": request.isSecure(),
            "client": request.getClientAddress().host,
            "user": (request.getUser(), request.getPassword()),
            "url": request.prePathURL(),
        }
        return "\n".join(f"{name}: {value!r}" for name, value in seen.items()).encode()

    render_POST = render_PUT = render_GET


class Boom(Resource):
    isLeaf = True

    def render_GET(self, request):
        raise ZeroDivisionError


class Fields(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.setResponseCode(int(request.args.get(b"code", [b"299"])[0]), b"As You Like")
        request.addCookie(b"a", b"1")
        request.addCookie(b"b", b"2", path=b"/")
        request.responseHeaders.addRawHeader(b"X-Two", b"1")
        request.responseHeaders.addRawHeader(b"X-Two", b"2")
        request.setETag(b'"tag"')
        request.setLastModified(784111777)
        return b"" if request.code in (204, 304) else b"fields"


class Push(Resource):
    """A streaming producer, without a length."""

    isLeaf = True
    count = 200

    def render_GET(self, request):
        Pusher(request, self.count)
        return NOT_DONE_YET


class Pusher:
    def __init__(self, request, left):
        self.request = request
        self.left = left
        self.running = False
        request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self):
        self.running = True
        while self.running and self.left:
            self.left -= 1
            self.request.write(PIECE)
        if not self.left:
            self.running = False
            self.left = None
            self.request.unregisterProducer()
            self.request.finish()

    def pauseProducing(self):
        self.running = False

    def stopProducing(self):
        self.running = False


class Pull(Resource):
    """A producer that is asked for each piece; with a length."""

    isLeaf = True

    def render_GET(self, request):
        request.setHeader(b"content-length", b"%d" % (len(PIECE) * 200))
        Puller(request)
        return NOT_DONE_YET


class Puller:
    def __init__(self, request):
        self.request = request
        self.left = 200
        request.registerProducer(self, False)

    def resumeProducing(self):
        self.left -= 1
        self.request.write(PIECE)
        if not self.left:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self):
        print("stopped", flush=True)


class Gone(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.notifyFinish().addErrback(lambda reason: print("gone", reason.type.__name__, flush=True))
        request.write(b"begun")
        return NOT_DONE_YET


class Session(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.getSession()
        request.cookies.clear()  # they differ in each answer
        return b"remembered"


def tree(directory):
    root = Resource()
    root.putChild(b"", Page())
    root.putChild(b"page", Page())
    root.putChild(b"boom", Boom())
    root.putChild(b"fields", Fields())
    root.putChild(b"push", Push())
    root.putChild(b"pull", Pull())
    root.putChild(b"gone", Gone())
    root.putChild(b"session", Session())
    root.putChild(b"redirect", Redirect(b"/elsewhere"))
    root.putChild(b"files", static.File(directory))
    return root


def main(directory):
    from twisted.internet import reactor

    from suuupra_gateway.config.model import ListenerSpec, MatchSpec, ProcessSpec
    from suuupra_gateway.http.site import GatewaySite
    from suuupra_gateway.net.endpoints import listen
    from suuupra_gateway.net.sweep import Sweep
    from suuupra_gateway.targets.mount import MountResource

    outer = Resource()
    outer.putChild(b"tree", tree(directory))
    mount = MountResource(tree(directory))
    route = SimpleNamespace(
        name="tree", spec=SimpleNamespace(match=MatchSpec(prefix="/tree")), done_hooks=(), reply_hooks=()
    )

    class Root(Resource):
        isLeaf = True

        def render(self, exchange):
            exchange.route = route
            return mount.render(exchange)

    sweep = Sweep(reactor)
    sweep.start()
    gateway = GatewaySite(
        Root(), listener=ListenerSpec(name="l", address="127.0.0.1:0"), process=ProcessSpec(), sweep=sweep
    )
    ports = [listen(reactor, socket.create_server(("127.0.0.1", 0)), site) for site in (Site(outer), gateway)]
    print(*(port.getHost().port for port in ports), flush=True)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1])
