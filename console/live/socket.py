"""The browser's WebSocket: hints and heartbeats out, nothing in."""

from __future__ import annotations

import asyncio
import contextlib
from importlib import import_module
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from console.live.groups import HINTS, of_user
from messaging.signals import TOPICS

HEARTBEAT = 3.0
RECHECK = 60.0
SIGNED_OUT, NOT_ALLOWED = 4401, 4403


class LiveSocket(AsyncJsonWebsocketConsumer):
    """One open page. Frames are numbered, so that the page notices a gap."""

    async def connect(self) -> None:
        self.sequence = 0
        self.seen: dict[str, int] = {}
        self.beat: asyncio.Task[None] | None = None
        self.user_group = ""
        refusal = await self.refusal()
        if refusal:
            # Accepted first: a browser cannot read the code of a refused handshake.
            await self.accept()
            await self.close(code=refusal)
            return
        self.user_group = of_user(self.scope["user"].pk)
        await self.channel_layer.group_add(HINTS, self.channel_name)
        await self.channel_layer.group_add(self.user_group, self.channel_name)
        await self.accept()
        await self.frame(())
        self.beat = asyncio.create_task(self._keep_beating())

    async def disconnect(self, code: int) -> None:
        if self.beat is not None:
            self.beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.beat
        if self.user_group:
            await self.channel_layer.group_discard(HINTS, self.channel_name)
            await self.channel_layer.group_discard(self.user_group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Ignore what a browser says: there are no commands on this socket."""

    async def hint(self, event: dict[str, Any]) -> None:
        """Pass a hint on; after a gap in its origin's numbers, everything may have changed."""
        origin, number = str(event["origin"]), int(event["number"])
        before = self.seen.get(origin)
        self.seen[origin] = number
        # The last number comes once more without topics, so an advance without topics is a gap too.
        step = 1 if event["topics"] else 0
        if before is not None and number != before + step:
            await self.frame(TOPICS)
        elif event["topics"]:
            await self.frame(event["topics"])

    async def signed_out(self, event: dict[str, Any]) -> None:
        await self.close(code=SIGNED_OUT)

    async def frame(self, topics: Any) -> None:
        self.sequence += 1
        await self.send_json({"seq": self.sequence, "topics": list(topics)})

    async def refusal(self) -> int | None:
        """Return the close code for someone who may not listen (any more)."""
        return await database_sync_to_async(_refusal)(self.scope.get("session"))

    async def _keep_beating(self) -> None:
        clock = asyncio.get_running_loop().time
        checked = clock()
        while True:
            await asyncio.sleep(HEARTBEAT)
            if clock() - checked >= RECHECK:
                checked = clock()
                if refusal := await self.refusal():
                    await self.close(code=refusal)
                    return
            await self.frame(())


def _refusal(session: SessionBase | None) -> int | None:
    """Read the session again from its store: what the handshake saw may have been ended or taken away since."""
    key = getattr(session, "session_key", None)
    if session is None or not key:
        return SIGNED_OUT
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(request)
    if not user.is_authenticated:
        return SIGNED_OUT
    return None if user.is_active and user.has_perm("messaging.view_console") else NOT_ALLOWED
