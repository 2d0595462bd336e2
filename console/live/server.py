"""The ASGI application as a whole: HTTP, WebSocket and the server's lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from console.live import hints

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
Hook = Callable[[], None]

on_startup: list[Hook] = []
"""Called in a thread before the first request; an error stops the start."""

on_shutdown: list[Hook] = []
"""Called in a thread, last added first, before the server's loop ends."""


class Application:
    """Routes by protocol and tells the hints which loop the sockets run on."""

    def __init__(self, *, http: App, websocket: App) -> None:
        self.http = http
        self.websocket = websocket

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            hints.publisher.serve_from(asyncio.get_running_loop())
            await self.websocket(scope, receive, send)
        else:
            await self.http(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                hints.publisher.serve_from(asyncio.get_running_loop())
                try:
                    for hook in on_startup:
                        await asyncio.to_thread(hook)
                except Exception as problem:
                    await send({"type": "lifespan.startup.failed", "message": str(problem)})
                    raise
                await send({"type": "lifespan.startup.complete"})
            else:
                for hook in reversed(on_shutdown):
                    await asyncio.to_thread(hook)
                hints.publisher.serve_from(None)
                await send({"type": "lifespan.shutdown.complete"})
                return
