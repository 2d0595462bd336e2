"""The sockets of one process. They hear hints together and pass them on together, to all open pages.

A page reads its parts again when it is told, and pages that were told of the same are shown the same drawing
(console.drawings): so one hint costs one drawing of each part, however many have it open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from channels.layers import get_channel_layer

from console.live.groups import HINTS
from console.serving import crowd
from messaging.signals import TOPICS

APART = 1.0
"""Seconds between two hints of a process that has much to tell, as many as live.js lets pass between two readings. The
first after a silence is told at once."""
BETWEEN, SPREAD = 0.008, 0.3
"""Seconds between two pages that are told the same, and between the first and the last of many: what they ask comes one
after the other, as it is answered, and not all at once."""
AT_MOST = 3.0
"""Seconds after which a hint is told although the process has not answered what the last one made pages ask."""
_LOOK = 0.05
ORIGINS = 1000
"""How many publishers' numbers are remembered, those heard last."""


class Listener(Protocol):
    def tell(self, topics: frozenset[str]) -> None: ...


class Audience:
    """Hears for all sockets of one event loop, from the first that joins to the last that leaves."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._seen: dict[str, int] = {}
        self._news: set[str] = set()
        self._has_news = asyncio.Event()
        self._is_entering = asyncio.Lock()

    async def join(self, listener: Listener) -> None:
        async with self._is_entering:
            if not self._tasks:
                layer: Any = get_channel_layer()
                channel = await layer.new_channel()
                await layer.group_add(HINTS, channel)
                self._tasks = [
                    asyncio.create_task(self._hear(layer, channel)), asyncio.create_task(self._tell()),
                ]  # fmt: skip
            self._listeners.add(listener)

    async def leave(self, listener: Listener) -> None:
        async with self._is_entering:
            self._listeners.discard(listener)
            if self._listeners:
                return
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _hear(self, layer: Any, channel: str) -> None:
        try:
            while True:
                self.hear(await layer.receive(channel))
                await asyncio.sleep(0)  # the first after a silence is told before the next is heard
        finally:
            await layer.group_discard(HINTS, channel)

    def hear(self, hint: dict[str, Any]) -> None:
        """Note what a hint says; after a gap in its origin's numbers, everything may have changed."""
        origin, number, topics = str(hint["origin"]), int(hint["number"]), hint["topics"]
        before = self._seen.pop(origin, None)
        self._seen[origin] = number
        if len(self._seen) > ORIGINS:
            del self._seen[next(iter(self._seen))]
        # The last number comes once more without topics, so an advance without topics is a gap too.
        step = 1 if topics else 0
        self._news.update(TOPICS if before is not None and number != before + step else topics)
        if self._news:
            self._has_news.set()

    async def _tell(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            topics = frozenset(self._news)
            self._news.clear()
            for will_tell in before_telling:
                will_tell()
            began = asyncio.get_running_loop().time()
            await self._tell_each(topics)
            await asyncio.sleep(max(0.0, began + APART - asyncio.get_running_loop().time()))
            await self._while_behind()

    async def _tell_each(self, topics: frozenset[str]) -> None:
        listeners = list(self._listeners)
        between = min(BETWEEN, SPREAD / max(1, len(listeners)))
        for listener in listeners:
            if listener in self._listeners:
                listener.tell(topics)
                await asyncio.sleep(between)

    async def _while_behind(self) -> None:
        """Wait as long as readers do: to be told more would make them ask for more."""
        waited = APART
        while crowd.is_waiting and waited < AT_MOST:
            await asyncio.sleep(_LOOK)
            waited += _LOOK


before_telling: set[Callable[[], None]] = set()
"""Called right before pages are told."""

_audiences: dict[asyncio.AbstractEventLoop, Audience] = {}


def audience() -> Audience:
    """Return the audience of the running loop."""
    loop = asyncio.get_running_loop()
    if loop not in _audiences:
        for closed in [other for other in _audiences if other.is_closed()]:
            del _audiences[closed]
        _audiences[loop] = Audience()
    return _audiences[loop]
