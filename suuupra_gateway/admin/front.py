"""
``/``: the page for people who come by with a browser. One page of HTML that loads nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
from typing import Any, Final

from twisted.web.iweb import IRequest
from twisted.web.resource import Resource

import suuupra_gateway
from suuupra_gateway.admin.api import PAGES
from suuupra_gateway.admin.view import Page, View
from suuupra_gateway.interfaces import IControl

_STYLE: Final = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
dt { margin-top: .5rem; }
dd { margin-left: 0; opacity: .8; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); }
"""

_TEMPLATE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} &middot; suuupra-gateway</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{name}</h1>
<p>suuupra-gateway {version}, generation {generation}: <strong>{state}</strong></p>
<h2>Pages</h2>
<dl>{pages}</dl>
<h2>Workers</h2>
<table>
<thead><tr><th scope="col">Slot</th><th scope="col">Process</th><th scope="col">State</th><th scope="col">Generation</th>\
<th scope="col">Restarts</th></tr></thead>
<tbody>{workers}</tbody>
</table>
</main>
</body>
</html>
"""

_PAGES: Final = {
    "/metrics": "All metrics, for Prometheus.",
    "/healthz": "Whether the supervisor works.",
    "/readyz": "Whether requests are served.",
    "/api/": "State as JSON.",
    **{f"/api/{name}": meaning for name, meaning in PAGES.items()},
}


def content_security_policy() -> bytes:
    """What browsers may do with our pages: show this one style, nothing else (CSP level 3)."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ).encode("ascii")


class Front(View):
    """The root of the site."""

    def __init__(self, control: IControl) -> None:
        super().__init__()
        self._control = control

    def getChild(self, path: bytes, request: Any) -> Resource:
        """The page itself is at ``/``."""
        return self if path == b"" and not request.postpath else super().getChild(path, request)

    async def page(self, request: IRequest) -> Page:
        plan = self._control.plan()
        ready, why = self._control.ready()
        config = plan.get("config")
        gateway = config.get("gateway") if isinstance(config, dict) else None
        name = gateway.get("name") if isinstance(gateway, dict) else None
        text = _TEMPLATE.format(
            name=_text(name or "suuupra"),
            style=_STYLE,
            version=_text(suuupra_gateway.__version__),
            generation=_text(plan.get("generation", 0)),
            state="ready" if ready else f"not ready: {_text(why)}",
            pages="".join(
                f'<dt><a href="{path}">{path}</a></dt><dd>{_text(what)}</dd>' for path, what in _PAGES.items()
            ),
            workers="".join(map(_row, self._control.workers())),
        )
        return Page(b"text/html; charset=utf-8", text.encode())


def _row(worker: dict[str, object]) -> str:
    cells = (worker.get(key, "") for key in ("slot", "pid", "state", "generation", "restarts"))
    return "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"


def _text(value: object) -> str:
    return html.escape(str(value))
