"""The browser's WebSocket: hints and heartbeats out, nothing in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from console.live.audience import audience
from console.live.groups import of_user

HEARTBEAT = 3.0
RECHECK = 60.0
SIGNED_OUT, NOT_ALLOWED = 4401, 4403


class LiveSocket(AsyncJsonWebsocketConsumer):
    """One open page. Frames are numbered, so that the page notices a gap."""

    async def connect(self) -> None:
        self.sequence = 0
        self.news: set[str] = set()
        self.has_news = asyncio.Event()
        self.speaking: asyncio.Task[None] | None = None
        self.user_group = ""
        refusal = await self.refusal()
        if refusal:
            # Accepted first: a browser cannot read the code of a refused handshake.
            await self.accept()
            await self.close(code=refusal)
            return
        self.user_group = of_user(self.scope["user"].pk)
        await self.channel_layer.group_add(self.user_group, self.channel_name)
        await audience().join(self)
        await self.accept()
        await self.frame(())
        self.speaking = asyncio.create_task(self._speak())

    async def disconnect(self, code: int) -> None:
        if self.speaking is not None:
            self.speaking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.speaking
        if self.user_group:
            await audience().leave(self)
            await self.channel_layer.group_discard(self.user_group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Ignore what a browser says: there are no commands on this socket."""

    def tell(self, topics: frozenset[str]) -> None:
        """Have the page told soon; one that takes its frames slowly delays no other."""
        self.news |= topics
        self.has_news.set()

    async def signed_out(self, event: dict[str, Any]) -> None:
        await self.close(code=SIGNED_OUT)

    async def frame(self, topics: Iterable[str]) -> None:
        self.sequence += 1
        await self.send_json({"seq": self.sequence, "topics": list(topics)})

    async def refusal(self) -> int | None:
        """Return the close code for someone who may not listen (any more)."""
        return await database_sync_to_async(_refusal)(self.scope.get("session"))

    async def _speak(self) -> None:
        """Send what there is to tell, and a heartbeat when there was nothing for a while."""
        clock = asyncio.get_running_loop().time
        checked = clock()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT):
                    await self.has_news.wait()
            self.has_news.clear()
            topics, self.news = sorted(self.news), set()
            await self.frame(topics)
            if clock() - checked >= RECHECK:
                checked = clock()
                if refusal := await self.refusal():
                    await self.close(code=refusal)
                    return


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
