"""In front of a tree of Twisted Web resources: ``Site(GuardedResource(root, guard))``. Keys are fetched in a thread."""

from __future__ import annotations

from typing import Any

from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.util import DeferredResource
from zope.interface import Interface

from suuupra_gateway.assertion.guard import Call, Guard, Refused


class ICall(Interface):
    """What requests that came through the gateway can be adapted to: a `Call`."""


class GuardedResource(Resource):
    """The tree, for calls through the gateway only. ``ICall(request)`` is the `Call`."""

    def __init__(self, root: Any, guard: Guard) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted is not typed here
        self._root, self._guard = root, guard

    def getChildWithDefault(self, path: bytes, request: Any) -> Any:
        """See `IResource`: called for every request, as even the path ``/`` has one segment, which is empty."""
        fields: dict[str, list[str]] = {}
        for name, values in request.requestHeaders.getAllRawHeaders():
            known = fields.setdefault(name.decode("latin-1").lower().replace("_", "-"), [])
            known += [value.decode("latin-1") for value in values]
        if request.path.decode("latin-1") in self._guard.open_paths:
            return self._child(path, request)
        if self._guard.blocks(fields):
            pending = deferToThread(self._guard.admit, fields)
            pending.addCallbacks(self._admitted, _Refusal.of, (path, request))
            return DeferredResource(pending)  # type: ignore[no-untyped-call]  # twisted is not typed here
        try:
            return self._admitted(self._guard.admit(fields), path, request)
        except Refused as refused:
            return _Refusal(refused)

    def _admitted(self, call: Call, path: bytes, request: Any) -> Any:
        request.setComponent(ICall, call)
        return self._child(path, request)

    def _child(self, path: bytes, request: Any) -> Any:
        if self._root.isLeaf:
            request.postpath.insert(0, request.prepath.pop())
            return self._root
        return self._root.getChildWithDefault(path, request)


class _Refusal(Resource):
    isLeaf = True

    def __init__(self, refused: Refused) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted is not typed here
        self._refused = refused

    @classmethod
    def of(cls, failure: Failure) -> _Refusal:
        failure.trap(Refused)  # type: ignore[no-untyped-call]  # twisted is not typed here
        return cls(failure.value)  # type: ignore[arg-type]  # as it was trapped

    def render(self, request: Any) -> bytes:
        request.setResponseCode(self._refused.status)
        for name, value in self._refused.fields:
            request.setHeader(name.encode(), value.encode())
        return self._refused.body
