"""In front of an ASGI application: ``application = GuardedApp(application, guard)``. Keys are fetched in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from suuupra_gateway.assertion.guard import KEY, Guard, Refused


class GuardedApp:
    """The application, for calls through the gateway only. ``scope["suuupra.call"]`` is the `Call`."""

    def __init__(self, app: Callable[..., Awaitable[None]], guard: Guard) -> None:
        self._app, self._guard = app, guard

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """See the ASGI specification."""
        guard = self._guard
        if scope["type"] in ("http", "websocket") and scope["path"] not in guard.open_paths:
            fields: dict[str, list[str]] = {}
            for name, value in scope["headers"]:
                fields.setdefault(name.decode("latin-1").lower().replace("_", "-"), []).append(value.decode("latin-1"))
            try:
                call = await asyncio.to_thread(guard.admit, fields) if guard.blocks(fields) else guard.admit(fields)
            except Refused as refused:
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1008})  # before accept: the server answers 403
                    return
                headers = [(name.lower().encode(), value.encode()) for name, value in refused.fields]
                await send({"type": "http.response.start", "status": refused.status, "headers": headers})
                await send({"type": "http.response.body", "body": refused.body})
                return
            scope = {**scope, KEY: call}
        await self._app(scope, receive, send)
