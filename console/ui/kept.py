"""One reading that many requests of a process share for a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Holds a value for ``seconds``; one thread reads it anew while the others wait."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._held: tuple[float, Value] | None = None

    def get(self, read: Callable[[], Value]) -> Value:
        with self._lock:
            if self._held is None or time.monotonic() - self._held[0] > self._seconds:
                value = read()
                self._held = (time.monotonic(), value)
            return self._held[1]

    def forget(self) -> None:
        """Drop the value, so that the next page shows what an operator has just changed."""
        with self._lock:
            self._held = None


shell: Kept[Any] = Kept(seconds=1.0)
"""What every page shows around its content; see console.ui.context."""
