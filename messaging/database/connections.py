"""What a connection needs beyond Django's own set-up, and what a database error means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from django.db import connection as default_connection
from django.db.models import TextField, Value
from django.db.utils import DatabaseError, InterfaceError, OperationalError

from messaging import clock
from messaging.errors import StaleSave

_retention: ContextVar[bool] = ContextVar("retention", default=False)
SERIALIZATION_FAILURE, DEADLOCK, LOCK_NOT_AVAILABLE = "40001", "40P01", "55P03"


def prepare(connection: Any, **_: Any) -> None:
    """Give a new SQLite connection the bus's clock and the switch that its append-only triggers ask."""
    if connection.vendor == "sqlite":
        connection.connection.create_function("signalbox_now", 0, lambda: text_time(clock.now()))
        connection.connection.create_function("signalbox_retention", 0, _retention.get)


@contextmanager
def retention() -> Iterator[None]:
    """Allow this context to delete rows of append-only tables on SQLite."""
    token = _retention.set(True)
    try:
        yield
    finally:
        _retention.reset(token)


def text_time(moment: datetime) -> str:
    """Return ``moment`` as SQLite stores it: UTC, always six digits, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(" ", "microseconds")[: len("2030-01-01 00:00:00.000000")]


def moment_in_query(moment: datetime) -> Any:
    """Return ``moment`` for a comparison with a column that the bus's own statements wrote.

    Django leaves zero microseconds out, so on SQLite its text would stand before the same time as the bus writes it.
    """
    return Value(text_time(moment), TextField()) if default_connection.vendor == "sqlite" else moment


def must_run_again(error: DatabaseError) -> bool:
    """Say whether the whole transaction should simply run again: serialisation failure, deadlock, lock timeout."""
    if isinstance(error, StaleSave):
        return True
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) in {SERIALIZATION_FAILURE, DEADLOCK, LOCK_NOT_AVAILABLE}:
        return True
    return isinstance(error, OperationalError) and "database is locked" in str(error)


def waited_too_long(error: DatabaseError) -> bool:
    """Say whether the statement gave up waiting for a row that another transaction holds."""
    return getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE


def is_lost() -> bool:
    """Say whether this thread's connection is gone, so that no outcome can be known."""
    raw = default_connection.connection
    return raw is None or bool(getattr(raw, "closed", False)) or bool(getattr(raw, "broken", False))


def is_connection_error(error: BaseException) -> bool:
    return isinstance(error, InterfaceError) or (isinstance(error, OperationalError) and is_lost())


def is_aborted() -> bool:
    """Say whether the open transaction can only roll back: a handler swallowed a database error."""
    if default_connection.needs_rollback:
        return True
    raw = default_connection.connection
    if default_connection.vendor != "postgresql" or raw is None:
        return False
    from psycopg.pq import TransactionStatus

    return bool(raw.info.transaction_status == TransactionStatus.INERROR)
