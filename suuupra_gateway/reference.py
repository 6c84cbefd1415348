"""
Pages of the documentation that are made from the code: ``python -m suuupra_gateway.reference docs`` writes them.
"""

from __future__ import annotations

import inspect
import pathlib
import sys
from collections.abc import Iterable, Sequence

from suuupra_gateway import errors, metrics
from suuupra_gateway.errors import GatewayError, Retry
from suuupra_gateway.histogram import DURATIONS, OVERHEADS
from suuupra_gateway.tally import MOST_PAIRS, MOST_SERIES

_MADE = ".. Made by `python -m suuupra_gateway.reference docs`; do not edit.\n"

_RETRIES = {
    Retry.NEVER: "never",
    Retry.IDEMPOTENT: "idempotent methods",
    Retry.REUSED: "idempotent methods",
    Retry.UNSENT: "any method, as nothing was sent",
}

_ERRORS = """
======
Errors
======

Every answer that the gateway makes itself because something went wrong is a problem of RFC 9457 (``application/problem+json``;
HTML for clients that prefer it), with the members

``type``
    ``https://suuupra.dev/problems/`` and the code, with hyphens for underscores.
``title``, ``status``
    One line for people, the same for all problems of a code; the status of the answer.
``code``
    The stable name of the list below. Clients and alerts may rely on it; a code is never given another meaning.
``request_id``
    What to quote when asking about it; the access log has it too.
``detail``
    What may be told about this occurrence; often absent. Addresses and names of upstreams are never told.

It carries the code in ``X-Gateway-Error`` too, and the proxy error type of RFC 9209 in ``Proxy-Status``, so that a 503 of ours
can be told from a 503 of an upstream, which is passed on untouched and has neither.

``blame`` says who has to act: it is a label of ``suuupra_errors_total``. ``another attempt`` says for which requests the gateway
itself tries again, on another peer and within its retry budget, before it gives this answer.

"""

_DENIED = """
``denied``
    Any status. The answer of a filter that chose no code of its own. Blame: gateway.

Once the head of an answer has been sent nothing can be told any more: then the gateway breaks the connection off, so that the
client sees an incomplete message and never a half answer that looks whole. Log and metrics have the code all the same.
"""

_METRICS = """
=======
Metrics
=======

The supervisor serves them at ``/metrics`` of the admin listener, as text or as OpenMetrics (by ``Accept``), merged over all
workers. Requests never wait for that: workers count in plain integers, and rendering happens in a thread of the supervisor.

* Names that end in ``_total`` count. They never go down while the supervisor lives: what a dead worker had counted is kept.
* Other values are of now. Those of several workers are added, or the greatest is taken where the table says so.
* ``service`` is the name of an upstream. Requests that asked none have ``-`` there; those that matched no route have it as route.
* Labels are bounded: unknown methods are ``OTHER``, and what exceeds {pairs:,} pairs of route and service, or {series:,} series
  of a family, is counted with the label ``overflow``.

Overhead is the duration of a request minus the time spent on its upstreams: from the choice of the peer (with several attempts:
from the end of the request filters) to the last byte of the upstream's answer. It holds what the gateway itself costs, filters
that wait included. What a slow client takes to send or to receive a body is not overhead: bodies stream, so the upstream waits
for it too and its time goes on.

"""


def errors_page() -> str:
    """``docs/errors.rst``."""
    by_code: dict[str, list[type[GatewayError]]] = {}
    for kind in _kinds():
        by_code.setdefault(kind.code, []).append(kind)
    rows = []
    for code, kinds in sorted(by_code.items(), key=lambda item: (item[1][0].status, item[0])):
        first = kinds[0]
        rows.append(
            (
                f"``{code}``",
                str(first.status),
                f"``{first.token}``",
                first.blame.value,
                "; ".join(dict.fromkeys(_RETRIES[kind.retry] for kind in kinds)),
                _summary(first),
            )
        )
    head = ("code", "status", "Proxy-Status error", "blame", "another attempt", "meaning")
    return _MADE + _ERRORS + _table(head, rows, (18, 6, 18, 8, 15, 35)) + _DENIED


def metrics_page() -> str:
    """``docs/metrics.rst``."""
    rows = [
        (
            f"``{metric.name}``",
            metric.kind + (", greatest" if metric.merge == "max" else ""),
            ", ".join(f"``{label}``" for label in metric.labels) or "none",
            metric.unit,
            metric.meaning,
        )
        for metric in metrics.CATALOGUE.values()
    ]
    text = _METRICS.format(pairs=MOST_PAIRS, series=MOST_SERIES)
    text += _table(("name", "kind", "labels", "unit", "meaning"), rows, (30, 10, 18, 10, 32))
    text += "\nBuckets\n=======\n\nUpper bounds in milliseconds, inclusive.\n\n"
    text += f"``{metrics.DURATION.name}`` and ``{metrics.UPSTREAM.name}``\n    {_milliseconds(DURATIONS)}\n\n"
    text += f"``{metrics.OVERHEAD.name}``\n    {_milliseconds(OVERHEADS)}\n"
    return _MADE + text


def _kinds() -> list[type[GatewayError]]:
    found = [
        kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, GatewayError) and not name.startswith("_")
    ]
    # Bases are not raised; `Bug` has the code of the first one and says more.
    return [kind for kind in found if kind not in (GatewayError, errors.UpstreamError)]


def _summary(kind: type[GatewayError]) -> str:
    """What a class says of itself, in one line, with reST's literals."""
    return " ".join((inspect.getdoc(kind) or "").split()).partition(" Practice: ")[0]


def _milliseconds(bounds: Iterable[float]) -> str:
    return ", ".join(f"{bound * 1000:g}" for bound in bounds)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in (head, *rows):
        for index, cell in enumerate(row):
            lines.append(f"   {'*' if index == 0 else ' '} - {cell}")
    return "\n".join(lines) + "\n"


def main(directory: str) -> None:
    """Write the pages into ``directory``."""
    docs = pathlib.Path(directory)
    (docs / "errors.rst").write_text(errors_page(), encoding="utf-8")
    (docs / "metrics.rst").write_text(metrics_page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
