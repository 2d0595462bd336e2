"""The one seam for time. Production reads the clock; the harness and the simulation install a virtual one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime


def _system() -> datetime:
    return datetime.now(UTC)


_source: Callable[[], datetime] = _system


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return _source()


def is_virtual() -> bool:
    """Say whether a clock is installed: SQL that asks the database's clock must then be told the time instead."""
    return _source is not _system


def install(source: Callable[[], datetime] | None) -> None:
    """Replace the clock of this process; None restores the system's."""
    global _source
    _source = source or _system
