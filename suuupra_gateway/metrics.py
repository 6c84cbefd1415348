"""
The catalogue of metrics: every name that the gateway exposes, with its labels, its unit and what it means.

Two rules make the table short. A name that ends in ``_total`` is a counter: it never goes down, and what a dead worker counted
is kept. Every other plain name is a gauge: it speaks of now, and goes with the worker that published it.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs


@attrs.frozen
class Metric:
    """One family of time series."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    unit: str
    """What one is: ``requests``, ``seconds``, ``bytes``…"""

    meaning: str
    """One sentence, for ``# HELP`` and the reference."""

    merge: Literal["sum", "max"] = "sum"
    """How values of several workers make one: ``max`` for what all workers see alike."""


def _counter(name: str, labels: tuple[str, ...], unit: str, meaning: str) -> Metric:
    return Metric(name, "counter", labels, unit, meaning)


def _gauge(name: str, labels: tuple[str, ...], unit: str, meaning: str, merge: Literal["sum", "max"] = "sum") -> Metric:
    return Metric(name, "gauge", labels, unit, meaning, merge)


def _histogram(name: str, meaning: str) -> Metric:
    return Metric(name, "histogram", ("route", "service"), "seconds", meaning)


REQUESTS: Final = _counter(
    "suuupra_requests_total",
    ("route", "service", "method", "code", "source"),
    "requests",
    "Finished exchanges. source: upstream if the answer came from there, or gateway. Code 499: the client left, 0: no answer.",
)
ERRORS: Final = _counter(
    "suuupra_errors_total",
    ("route", "service", "error", "blame"),
    "requests",
    "Exchanges that the gateway answered itself or broke off, by stable error code and by who is to blame.",
)
RECEIVED: Final = _counter(
    "suuupra_request_body_bytes_total", ("route", "service"), "bytes", "Bytes of request bodies received from clients."
)
SENT: Final = _counter(
    "suuupra_response_body_bytes_total", ("route", "service"), "bytes", "Bytes of response bodies sent to clients."
)
DURATION: Final = _histogram(
    "suuupra_request_duration_seconds", "From the complete head of a request to the last byte of its answer."
)
UPSTREAM: Final = _histogram(
    "suuupra_upstream_duration_seconds",
    "The part of a request's duration that was spent on upstreams: connecting, failed attempts, waiting, streaming.",
)
OVERHEAD: Final = _histogram(
    "suuupra_overhead_seconds", "The rest: what the gateway itself added to a request, its filters included."
)
ATTEMPTS: Final = _counter(
    "suuupra_upstream_attempts_total",
    ("service", "outcome"),
    "attempts",
    "Attempts at upstreams. outcome is answered, status (an answer that was tried again), cancelled, or the error's code.",
)
RETRIES: Final = _counter(
    "suuupra_upstream_retries_total", ("service",), "attempts", "Attempts beyond the first of their request."
)

IN_FLIGHT: Final = _gauge("suuupra_requests_in_flight", ("listener",), "requests", "Exchanges that have not ended.")
CONNECTIONS: Final = _gauge("suuupra_connections", ("listener",), "connections", "Open connections of clients.")
ACCEPTED: Final = _counter(
    "suuupra_connections_accepted_total", ("listener",), "connections", "Connections of clients that were accepted."
)
REFUSED: Final = _counter(
    "suuupra_connections_refused_total", ("listener",), "connections", "Connections closed at once: too many are open."
)
BAD_REQUESTS: Final = _counter(
    "suuupra_bad_requests_total", ("listener",), "requests", "Requests refused as malformed or ambiguous."
)
DROPPED_HEADERS: Final = _counter(
    "suuupra_dropped_headers_total",
    ("listener",),
    "fields",
    "Header fields dropped for an underscore or dot in the name.",
)

ENDPOINTS: Final = _gauge(
    "suuupra_endpoints",
    ("service", "state"),
    "endpoints",
    "Endpoints of an upstream by state: active.",
    "max",
)
POOL: Final = _gauge(
    "suuupra_pool_connections",
    ("service", "state"),
    "connections",
    "Connections to an upstream's peers: active or idle.",
)
POOL_WAITING: Final = _gauge(
    "suuupra_pool_waiting", ("service",), "requests", "Requests that wait for a connection to become free."
)
CONNECTS: Final = _counter(
    "suuupra_upstream_connects_total",
    ("service",),
    "connections",
    "Connections to an upstream's peers that were opened.",
)
CONNECT_FAILURES: Final = _counter(
    "suuupra_upstream_connect_failures_total",
    ("service",),
    "connections",
    "Connections to peers that could not be made.",
)
REUSES: Final = _counter(
    "suuupra_upstream_reuses_total",
    ("service",),
    "requests",
    "Requests sent on a connection that had been used before.",
)

AUTH_DECISIONS: Final = _counter(
    "suuupra_auth_decisions_total",
    ("provider", "result", "source"),
    "requests",
    "Requests to private routes. result: accepted, forbidden, refused, missing or undecided. source: live; fresh, revalidate"
    " and stale are decisions of before.",
)
JWKS_AGE: Final = _gauge(
    "suuupra_jwks_age_seconds", ("provider",), "seconds", "Time since a provider's key set was last fetched.", "max"
)
JWKS_FETCHES: Final = _counter(
    "suuupra_jwks_fetches_total",
    ("provider", "result"),
    "fetches",
    "Fetches of a provider's metadata and key set: ok or failed.",
)

REVOCATIONS_HEARD: Final = _gauge(
    "suuupra_revocations_heard",
    (),
    "boolean",
    "1 while this host hears of what is revoked, 0 while it does not.",
    "max",
)

LOOP_LAG: Final = _gauge(
    "suuupra_loop_lag_seconds",
    ("worker",),
    "seconds",
    "Longest delay of a timer in a worker's event loop since the previous snapshot: the sign of saturation.",
    "max",
)
CPU: Final = _counter(
    "suuupra_worker_cpu_seconds_total", ("worker",), "seconds", "CPU time of a worker, user and system."
)
RESIDENT: Final = _gauge("suuupra_worker_resident_bytes", ("worker",), "bytes", "Resident memory of a worker.")
OPEN_FILES: Final = _gauge("suuupra_worker_open_files", ("worker",), "files", "Open descriptors of a worker.")
LOG_LINES: Final = _counter(
    "suuupra_access_log_lines_total", ("outcome",), "lines", "Lines of the access log: written or dropped."
)
BROKEN_SOURCES: Final = _gauge(
    "suuupra_metric_sources_broken", (), "sources", "Parts of workers whose own metrics could not be read."
)

AUTH_ASKED: Final = _counter(
    "suuupra_auth_asked_total",
    ("provider", "outcome"),
    "questions",
    "Questions to who decides about credentials or keeps them. outcome: answered or failed.",
)
AUTH_REMEMBERED: Final = _gauge(
    "suuupra_auth_remembered_decisions",
    ("provider",),
    "decisions",
    "Decisions that workers remember; one that several remember counts several times.",
)
AUTH_OUTAGE: Final = _gauge(
    "suuupra_auth_outage_seconds",
    ("provider",),
    "seconds",
    "Since the first of the questions in a row that got no answer; 0 after an answer.",
    "max",
)
AUTH_ACTIVE: Final = _gauge(
    "suuupra_auth_active_identities", ("provider",), "identities", "Callers of the last 5 minutes, per worker added up."
)
AUTH_SURVIVING: Final = _gauge(
    "suuupra_auth_surviving_identities",
    ("provider", "minutes"),
    "identities",
    "Those of the active callers who would get by if their provider were away for so many minutes from now on.",
)

GENERATION: Final = _gauge("suuupra_config_generation", (), "generation", "Generation of the plan in force.")
RELOADED: Final = _gauge(
    "suuupra_config_last_reload_successful", (), "boolean", "1 if the last start or reload took effect, else 0."
)
RELOADED_AT: Final = _gauge(
    "suuupra_config_last_reload_success_timestamp_seconds",
    (),
    "seconds",
    "UNIX time when the plan in force took effect.",
)
WORKERS: Final = _gauge("suuupra_workers", ("state",), "workers", "Worker processes by state.")
RESTARTS: Final = _counter(
    "suuupra_worker_restarts_total", ("worker",), "restarts", "How often a worker was started again after it had died."
)
BUILD: Final = _gauge("suuupra_build_info", ("version",), "constant", "Always 1; the labels tell the version.")

CATALOGUE: Final = {metric.name: metric for metric in list(globals().values()) if isinstance(metric, Metric)}
"""All of the above by name, in the order in which they are exposed."""


def is_counter(name: str) -> bool:
    """Whether ``name`` counts, so that its values add up over the lives of workers."""
    return name.endswith("_total")
