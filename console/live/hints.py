"""From "something changed" in this process to a hint for every browser, at most five a second.

A hint says which topics changed, never what: the page reads its own part again, so permissions are checked again and
nothing leaks. Hints are numbered per process; a socket that misses one tells its page to read everything.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import threading
from collections.abc import Coroutine
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer

from console.live.groups import HINTS
from messaging import signals

log = logging.getLogger(__name__)

PERIOD = 0.2
"""Seconds between two hints of one process: on every channel layer, one push per event drops or falls behind."""

TAIL = 2.0
"""Seconds after the last hint when its number is sent once more, so that losing the last one is noticed too."""

GIVE_UP = 5.0


class Publisher:
    """Collects topics from any thread and sends them from one of its own."""

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """Forget threads and connections: after a fork they belong to the parent."""
        self.origin = secrets.token_hex(4)
        self._pending: set[str] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._server_loop: asyncio.AbstractEventLoop | None = None
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._sequence = 0

    def serve_from(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Name the loop that the sockets of this process run on, or None when it ends."""
        self._server_loop = loop

    def add(self, topics: frozenset[str]) -> None:
        """Note changed topics; returns at once, because it is called right after a delivery's commit."""
        with self._changed:
            self._pending |= topics
            if self._thread is None or not self._thread.is_alive():
                # Started late: processes that change nothing need no thread.
                self._thread = threading.Thread(target=self._run, name="live-hints", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        pause = threading.Event()
        told_tail = True
        while True:
            with self._changed:
                if not self._pending:
                    self._changed.wait(timeout=None if told_tail else TAIL)
                topics = frozenset(self._pending)
                self._pending.clear()
            told_tail = not topics
            if topics:
                self._sequence += 1
            self._send(sorted(topics))
            pause.wait(PERIOD)

    def _send(self, topics: list[str]) -> None:
        layer = get_channel_layer()
        if layer is None or not self._sequence:
            return
        event = {"type": "hint", "origin": self.origin, "number": self._sequence, "topics": topics}
        try:
            self._wait_for(layer.group_send(HINTS, event), in_memory=isinstance(layer, InMemoryChannelLayer))
        except Exception as problem:  # noqa: BLE001  a hint is worth nothing compared with the process it runs in
            log.warning("live hint not sent: %r", problem)

    def _wait_for(self, sending: Coroutine[Any, Any, None], *, in_memory: bool) -> None:
        loop = self._server_loop
        if loop is not None and loop.is_running():
            # The in-memory layer wakes its readers only on their own loop; async_to_sync takes 50 ms to reach them.
            asyncio.run_coroutine_threadsafe(sending, loop).result(GIVE_UP)
        elif in_memory:
            sending.close()  # nobody listens in this process
        else:
            if self._own_loop is None:
                self._own_loop = asyncio.new_event_loop()
            self._own_loop.run_until_complete(asyncio.wait_for(sending, GIVE_UP))


publisher = Publisher()
os.register_at_fork(after_in_child=publisher.start_over)


def _on_changed(sender: object, topics: frozenset[str], **extra: object) -> None:
    publisher.add(frozenset(topics))


def connect() -> None:
    """Send a hint for every change that this process commits."""
    signals.changed.connect(_on_changed, dispatch_uid="console.live.hints")
