"""The relay's hint inside one process: an event that a commit sets."""

from __future__ import annotations

import threading

_event = threading.Event()


def give() -> None:
    """Wake the relay of this process, if it has one."""
    _event.set()


def wait(seconds: float) -> bool:
    """Wait until a hint arrives or ``seconds`` pass; say whether one arrived."""
    arrived = _event.wait(seconds)
    _event.clear()
    return arrived
