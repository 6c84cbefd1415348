"""In front of a WSGI application (PEP 3333): ``application = GuardedApp(application, guard)``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from suuupra_gateway.assertion.guard import KEY, Guard, Refused


class GuardedApp:
    """The application, for calls through the gateway only. ``environ["suuupra.call"]`` is the `Call`."""

    def __init__(self, app: Callable[..., Iterable[bytes]], guard: Guard) -> None:
        self._app, self._guard = app, guard

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """See PEP 3333."""
        if environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "") not in self._guard.open_paths:
            # Servers join fields of one name with commas, which no statement holds: two of them are refused.
            fields = {
                name[5:].lower().replace("_", "-"): [value] for name, value in environ.items() if name[:5] == "HTTP_"
            }
            try:
                environ[KEY] = self._guard.admit(fields)
            except Refused as refused:
                start_response(f"{refused.status} {refused.title}", refused.fields)
                return [refused.body]
        return self._app(environ, start_response)
