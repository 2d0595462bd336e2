"""What was drawn a moment ago, for all who may see the same and were told of nothing since.

A hint makes every open page read its parts again, and most pages of a team show the same parts. Each is drawn once
then: the first who asks draws, the others wait for it. A drawing is handed out only to a request that came before the
next hint was told, so that nobody who was told of a change is shown what was read before it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Value = TypeVar("Value")

SECONDS = 1.0
"""How old a drawing may be that is handed out, whatever was told; also what another process was told meanwhile."""
CHANGES = 100
"""How many changes are remembered; to who asked before all of them, the first of them counts."""
MOST = 200
"""How many drawings are kept: what many filters ask for, each once, is not worth its memory."""


@dataclass
class _Place(Generic[Value]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    begun: float = float("-inf")
    value: Value | None = None


class Board(Generic[Value]):
    """The drawings of one process. Shares nothing before ``open``: only a server has many readers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[Hashable, _Place[Value]] = {}
        self._changes: deque[float] = deque([0.0], maxlen=CHANGES)
        self._is_open = False

    def open(self) -> None:
        self._is_open = True

    def close(self) -> None:
        self._is_open = False
        self._places.clear()

    def wipe(self) -> None:
        """Something changed: whoever asks from here on is shown what is drawn from here on."""
        self._changes.append(time.monotonic())

    def get(self, key: Hashable, draw: Callable[[], Value], *, asked_at: float) -> Value:
        """Return a drawing that began after the last change known at ``asked_at``, at most ``SECONDS`` before it.

        Times are those of ``time.monotonic``.
        """
        place = self._place(key) if self._is_open else None
        if place is None:
            return draw()
        since = max(self._known_at(asked_at), asked_at - SECONDS)
        with place.lock:
            if place.value is None or place.begun <= since:
                begun = time.monotonic()
                place.value, place.begun = draw(), begun
            return place.value

    def _known_at(self, moment: float) -> float:
        changes = list(self._changes)
        return next((change for change in reversed(changes) if change <= moment), changes[0])

    def _place(self, key: Hashable) -> _Place[Value] | None:
        with self._lock:
            if key not in self._places and len(self._places) >= MOST:
                old = time.monotonic() - SECONDS
                self._places = {name: place for name, place in self._places.items() if place.begun > old}
            if key not in self._places and len(self._places) >= MOST:
                return None
            return self._places.setdefault(key, _Place())
