"""
The two HTTP stacks in memory, with the same face: the gateway's own, and Twisted Web's with our resources in a stock `Site`.
"""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

import suuupra_gateway.http.stock  # noqa: F401  # registers the adapter
from suuupra_gateway.errors import wrap
from suuupra_gateway.interfaces import IExchange
from tests.http.edge import Edge, Leaf, read_answers, respond

CLIENT = IPv4Address("TCP", "192.0.2.7", 40000)


class Lean(Edge):
    """`GatewaySite` and `EdgeChannel`."""

    def __init__(self, answer=respond, resource=None, connect=True, **options):
        super().__init__(answer, connect=False, **options)
        if resource is not None:
            self.site.resource = resource
        if connect:
            self.connect()

    @property
    def exchanges(self):
        return self.leaf.exchanges

    def pause(self):
        """The client does not keep up."""
        self.transport.producer.pauseProducing()

    def resume(self):
        """It does again."""
        self.transport.producer.resumeProducing()


class Root(Resource):
    """A root for a stock Site: adapts, keeps, and lets ``answer`` do the rest."""

    isLeaf = True

    def __init__(self, leaf):
        super().__init__()
        self.leaf = leaf

    def render(self, request):
        exchange = IExchange(request)
        try:
            self.leaf.render(exchange)
        except Exception as error:  # as GatewayResource does, and EdgeChannel
            exchange.abort(wrap(error))
        return NOT_DONE_YET


class Stock:
    """`twisted.web.server.Site` and `RequestExchange`."""

    def __init__(self, answer=respond, resource=None, connect=True):
        self.clock = Clock()
        self.leaf = Leaf(answer)
        self.site = Site(resource or Root(self.leaf), reactor=self.clock)
        if connect:
            self.connect()

    def connect(self):
        """A new client."""
        self.transport = StringTransport(peerAddress=CLIENT)
        self.channel = self.site.buildProtocol(CLIENT)
        self.channel.makeConnection(self.transport)

    @property
    def exchanges(self):
        return self.leaf.exchanges

    @property
    def exchange(self):
        """The last one."""
        return self.leaf.exchanges[-1]

    def send(self, data):
        """Bytes from the client."""
        self.channel.dataReceived(data)

    def lose(self):
        """The client goes away."""
        self.channel.connectionLost(Failure(ConnectionDone()))

    def pause(self):
        """The client does not keep up."""
        self.transport.producer.pauseProducing()

    def resume(self):
        """It does again."""
        self.transport.producer.resumeProducing()

    @property
    def out(self):
        """What was sent to the client."""
        return self.transport.value()

    @property
    def closing(self):
        """Whether the connection was closed in good order."""
        return self.transport.disconnecting and not self.transport.disconnected

    @property
    def aborted(self):
        """Whether the connection was reset."""
        return self.transport.disconnected

    def answers(self, *methods, closed=False):
        """What was sent, understood by h11."""
        return read_answers(self.out, *methods, closed=closed)

    def answer(self, method=b"GET", closed=False):
        """The only answer that was sent."""
        return self.answers(method, closed=closed)[0]


STACKS = {"lean": Lean, "stock": Stock}
