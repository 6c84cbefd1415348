"""
Answer 503 on a route while it is being worked on.

A filter of one's own is one file. This one is loaded by path::

    plugins:
      - filters/maintenance.py

    routes:
      - name: users
        filters:
          - maintenance: {retry-after: 10m}
"""

from suuupra_gateway.config.units import Duration
from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec, Phase, Verdict
from suuupra_gateway.http.message import Reply
from suuupra_gateway.interfaces import IExchange


class MaintenanceSpec(FilterSpec):
    """How to keep people out."""

    retry_after: Duration = Duration(60.0)
    """How long callers are told to stay away."""

    pass_header: str = "x-maintenance-pass"
    """Requests that carry this header go through."""


class Maintenance(Filter[MaintenanceSpec]):
    """Refuse everything, politely, except for those who hold the pass."""

    phase = Phase.ACCESS
    on_error = "It cannot fail."

    def request(self, exchange: IExchange) -> Verdict:
        """Answer 503, or go on."""
        if exchange.head.get(self.spec.pass_header.lower().encode()) is not None:
            return None
        return Reply.problem(503, code="maintenance", retry_after=self.spec.retry_after)


kind = FilterKind("maintenance", MaintenanceSpec, Maintenance)
