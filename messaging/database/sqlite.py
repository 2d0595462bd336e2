from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from messaging import clock

_retention: ContextVar[bool] = ContextVar("retention", default=False)


def prepare(connection: Any, **_: Any) -> None:
    """Give a new SQLite connection the bus's clock and the switch that its append-only triggers ask."""
    if connection.vendor == "sqlite":
        connection.connection.create_function("signalbox_now", 0, lambda: text_time(clock.now()))
        connection.connection.create_function("signalbox_retention", 0, _retention.get)


@contextmanager
def retention() -> Iterator[None]:
    """Allow this context to delete rows of append-only tables."""
    token = _retention.set(True)
    try:
        yield
    finally:
        _retention.reset(token)


def text_time(moment: datetime) -> str:
    """Return ``moment`` (UTC) as Django stores it on SQLite, always with six digits, so that text order is time order."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
