"""Failed authentications per address: after too many, the answer is 429 until the window is over."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

LIMIT = 20
WINDOW_SECONDS = 60.0
_MOST_ADDRESSES = 10_000


class FailureCount:
    """Counts failures per address in a fixed window. Of this process only, and bounded in memory."""

    def __init__(self, *, limit: int = LIMIT, window_seconds: float = WINDOW_SECONDS) -> None:
        self._limit = limit
        self._window = window_seconds
        self._since: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, address: str) -> float | None:
        """Count one failure; return how many seconds the address has to wait, None while it is under the limit."""
        now = time.monotonic()
        with self._lock:
            began, count = self._since.pop(address, (now, 0))
            if now - began >= self._window:
                began, count = now, 0
            self._since[address] = (began, count + 1)
            while len(self._since) > _MOST_ADDRESSES:
                self._since.popitem(last=False)
        return began + self._window - now if count >= self._limit else None

    def clear(self) -> None:
        with self._lock:
            self._since.clear()


failed_authentications = FailureCount()
