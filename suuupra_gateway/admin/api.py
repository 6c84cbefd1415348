"""
``/api/``: the state of the gateway as JSON, and API keys (see `admin.keys`).

The pages are the public names below ``/api/``: plan, routes, upstreams, workers, keys, revocations. Members of objects are never
renamed; new ones may come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.iweb import IRequest
from twisted.web.resource import Resource

from suuupra_gateway.admin import keys, traffic
from suuupra_gateway.admin.access import Access
from suuupra_gateway.admin.report import Report
from suuupra_gateway.admin.traffic import Summary
from suuupra_gateway.admin.view import Page, View
from suuupra_gateway.interfaces import IControl
from suuupra_gateway.tally import Sample, Snapshot

PAGES = {
    "plan": "The plan in force: generation, digest, age and the effective configuration, secrets masked.",
    "routes": "Routes in file order, each with what was counted and how fast it was.",
    "upstreams": "Upstreams, each with what was counted, how fast it was and its gauges.",
    "workers": "Worker processes.",
}


def api(control: IControl, report: Report, access: Access) -> Resource:
    """The resource for ``/api``."""
    root = Index()
    root.putChild(b"plan", Plan(control))
    root.putChild(b"routes", _Counted(control, report, "routes", traffic.by_route))
    root.putChild(b"upstreams", _Counted(control, report, "upstreams", _services))
    root.putChild(b"workers", Workers(control))
    root.putChild(b"keys", keys.tree(control, access))
    root.putChild(b"revocations", keys.Revocations(control, access))
    return root


class Index(View):
    """What there is."""

    def getChild(self, path: bytes, request: Any) -> Resource:
        """``/api`` and ``/api/`` are one."""
        return self if path == b"" and not request.postpath else super().getChild(path, request)

    async def page(self, request: IRequest) -> Page:
        pages = {**PAGES, **keys.PAGES}
        return Page.json({"pages": {f"/api/{name}": meaning for name, meaning in pages.items()}})


class _Controlled(View):
    def __init__(self, control: IControl) -> None:
        super().__init__()
        self._control = control


class Plan(_Controlled):
    """The plan in force."""

    async def page(self, request: IRequest) -> Page:
        return Page.json(self._control.plan())


class Workers(_Controlled):
    """Worker processes."""

    async def page(self, request: IRequest) -> Page:
        ready, why = self._control.ready()
        return Page.json({"ready": ready, "reason": why or None, "workers": self._control.workers()})


class _Counted(_Controlled):
    """
    A part of the configuration together with its traffic.

    ``others`` has what was counted under names that are not configured (any more): ``-`` is for requests that matched nothing.
    """

    def __init__(
        self, control: IControl, report: Report, part: str, count: Callable[[Snapshot], dict[str, Summary]]
    ) -> None:
        super().__init__(control)
        self._report = report
        self._part = part
        self._count = count

    async def page(self, request: IRequest) -> Page:
        plan = self._control.plan()
        configured = plan.get("config")
        entries = _entries(configured.get(self._part) if isinstance(configured, dict) else None)

        def work(snapshot: Snapshot) -> Page:
            counted = self._count(snapshot)
            for entry in entries:
                entry["traffic"] = counted.pop(str(entry.get("name")), None)
            body = {"generation": plan.get("generation"), self._part: entries, "others": counted}
            return Page.json(body)

        return await self._report.over_snapshot((self._part, plan.get("generation")), work)


def _services(snapshot: Snapshot) -> dict[str, Summary]:
    """Traffic by service, together with what workers publish of their pools."""
    summaries = traffic.by_service(snapshot)
    for sample in snapshot.samples:
        service, rest = _split(sample)
        if service is not None:
            gauges = summaries.setdefault(service, {}).setdefault("gauges", {})
            assert isinstance(gauges, dict)
            gauges[rest] = sample.value
    return summaries


def _split(sample: Sample) -> tuple[str | None, str]:
    """The service that a sample is about, and what is left of its name: ``endpoints{state="active"}``."""
    labels = dict(sample.labels)
    service = labels.pop("service", None)
    name = sample.name.removeprefix("suuupra_")
    if labels:
        name += "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"
    return service, name


def _entries(part: object) -> list[dict[str, object]]:
    """Specs as a list of objects with a ``name``, whether the configuration has them as a list or by name."""
    if isinstance(part, dict):
        return [{"name": name, **spec} for name, spec in part.items() if isinstance(spec, dict)]
    if isinstance(part, list | tuple):
        return [dict(spec) for spec in part if isinstance(spec, dict)]
    return []
