"""
The admin site: metrics, health, state, API keys. Stock ``twisted.web`` in the supervisor, on a listener of its own.

It never blocks the supervisor's loop: what takes long runs in a thread (`report.Report`).
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from suuupra_gateway.admin import exposition
from suuupra_gateway.admin.access import LARGEST, Access, is_json
from suuupra_gateway.admin.api import api
from suuupra_gateway.admin.front import Front, content_security_policy
from suuupra_gateway.admin.guard import Guard
from suuupra_gateway.admin.report import Report, Threads
from suuupra_gateway.admin.view import PLAIN, Page, View
from suuupra_gateway.config.model import AdminSpec
from suuupra_gateway.errors import Overloaded
from suuupra_gateway.http.message import Reply
from suuupra_gateway.interfaces import IControl

_IDLE: Final = 60.0
"""Seconds after which an idle connection is closed."""


def admin_site(
    control: IControl, spec: AdminSpec, *, reactor: IReactorTime | None = None, threads: Threads | None = None
) -> Site:
    """
    The site for the listener at ``spec.address``.

    :param reactor: for the timeouts of connections; None for the running one.
    :param threads: where slow work goes; None for the running reactor's thread pool.
    """
    report = Report(control, threads or Threads())
    root = Front(control)
    root.putChild(b"metrics", Metrics(report))
    root.putChild(b"healthz", Healthz(control))
    root.putChild(b"readyz", Readyz(control))
    root.putChild(b"api", api(control, report, Access(spec.tokens)))
    return AdminSite(Guard(root, spec, content_security_policy()), reactor)


_CONNECTIONS: Final = 256
"""Most open connections: the supervisor needs its descriptors for workers and reloads."""


class _Request(Request):
    """
    A request whose body is kept if it is JSON, and not long; any other one is thrown away as it comes.

    Twisted would put it into a file of any size before anybody can refuse it, and read forms of many parts into memory. Any
    web page may send such a request here, whatever it names as ``Host``.
    """

    overlong = False
    """Whether there was more than is kept: then nothing is."""

    _left = 0

    content: BytesIO

    def gotLength(self, length: int | None) -> None:
        """The head is complete."""
        self.content = BytesIO()
        if is_json(self.requestHeaders.getRawHeaders(b"content-type", ())):
            self._left = LARGEST

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        if self._left >= len(data):
            self._left -= len(data)
            self.content.write(data)
        else:
            self._left = 0
            self.overlong = True
            self.content = BytesIO()


class _Channel(HTTPChannel):
    """A connection that is counted."""

    factory: AdminSite

    def connectionMade(self) -> None:
        """It begins."""
        self.factory.connections += 1
        super().connectionMade()  # type: ignore[no-untyped-call]  # Twisted's

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's has a default of another type
        """It is over."""
        self.factory.connections -= 1
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class AdminSite(Site):
    """A site without a log of its own: scrapes and probes would drown what matters."""

    displayTracebacks = False
    protocol = _Channel  # type: ignore[assignment]  # without the choice between HTTP versions

    def __init__(self, resource: IResource, reactor: IReactorTime | None) -> None:
        super().__init__(resource, requestFactory=_Request, timeout=_IDLE, reactor=reactor)  # type: ignore[no-untyped-call]
        self.connections = 0

    def buildProtocol(self, addr: IAddress | None) -> Any:  # Twisted's has a private type
        """A channel, or None past the limit of connections."""
        if self.connections >= _CONNECTIONS:
            return None
        return super().buildProtocol(addr)  # type: ignore[no-untyped-call]

    def log(self, request: Any) -> None:
        """Nothing."""


class Metrics(View):
    """``/metrics``, as text or as OpenMetrics."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    async def page(self, request: IRequest) -> Page:
        accept = ",".join(request.requestHeaders.getRawHeaders("accept", []))
        openmetrics = exposition.wants_openmetrics(accept)
        body = await self._report.over_snapshot(
            ("metrics", openmetrics), lambda snapshot: exposition.render(snapshot, openmetrics)
        )
        return Page(exposition.OPENMETRICS if openmetrics else exposition.TEXT, body, headers=((b"vary", b"accept"),))


class Healthz(View):
    """``/healthz``: whether the supervisor works. A watchdog restarts what fails here."""

    def __init__(self, control: IControl) -> None:
        super().__init__()
        self._control = control

    async def page(self, request: IRequest) -> Page:
        if not self._control.healthy():
            return _unavailable("The supervisor does not work.")
        return Page(PLAIN, b"ok\n")


class Readyz(View):
    """``/readyz``: whether requests are served. A load balancer sends traffic elsewhere while this fails."""

    def __init__(self, control: IControl) -> None:
        super().__init__()
        self._control = control

    async def page(self, request: IRequest) -> Page:
        ready, why = self._control.ready()
        return Page(PLAIN, b"ready\n") if ready else _unavailable(why or "No worker serves.")


def _unavailable(why: str) -> Page:
    return Page.problem(Reply.of(Overloaded(why, detail=why)))
