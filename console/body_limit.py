"""No request body grows without end: Django writes it to a temporary file, whole, before any view can refuse it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from console.live.server import App, Receive, Send


def limited(app: App, *, limit: int) -> App:
    """Return ``app`` with a 413 for every body of more than ``limit`` bytes, sent as soon as that is known."""

    async def guarded(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        size, read, has_answered = _announced(scope), 0, False

        async def counted() -> dict[str, Any]:
            nonlocal size, read
            message = await receive()
            read += len(message.get("body", b""))
            size = max(size, read)
            return {"type": "http.disconnect"} if size > limit else message

        async def noted(message: Mapping[str, Any]) -> None:
            nonlocal has_answered
            has_answered = True
            await send(message)

        if size <= limit:
            await app(scope, counted, noted)
        if size > limit and not has_answered:
            await _refuse(send, limit)

    return guarded


def _announced(scope: Mapping[str, Any]) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"")
    return int(value[:20]) if value.isdigit() else 0


async def _refuse(send: Send, limit: int) -> None:
    title = "Request Entity Too Large"
    detail = f"The body is larger than {limit} bytes."
    body = json.dumps({"type": "about:blank", "title": title, "status": 413, "detail": detail}).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
