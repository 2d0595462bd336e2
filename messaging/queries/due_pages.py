"""Keyset pages of rows that wait for a time, the next due first: a cursor is the last row's time and id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet

from messaging.database.connections import moment_in_query
from messaging.queries.pages import PAGE_CAP

Row = TypeVar("Row")
M = TypeVar("M", bound=Model)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class DuePage(Generic[Row]):
    """``next`` continues to what is due later (pass as after=); None on the last page."""

    rows: tuple[Row, ...]
    next: str | None


def cursor_of(moment: datetime, message_id: UUID) -> str:
    """Return the cursor of a row, safe in a URL."""
    return f"{(moment - _EPOCH) // timedelta(microseconds=1)}-{message_id.hex}"


def after_cursor(rows: QuerySet[M], time: str, cursor: str) -> QuerySet[M]:
    """Leave out what stands before the cursor; a mangled one is ignored and gives the first page."""
    read = _read(cursor)
    if read is None:
        return rows
    moment, message_id = read
    bound: Any = moment_in_query(moment)
    later = Q(**{f"{time}__gt": bound}) | Q(**{time: bound, "message_id__gt": message_id})
    return rows.filter(later, **{f"{time}__gte": bound})  # the second half bounds the index


def split(rows: QuerySet[M], limit: int) -> tuple[list[M], bool]:
    """Read one page; say whether more follow."""
    limit = max(1, min(limit, PAGE_CAP))
    found = list(rows[: limit + 1])
    return found[:limit], len(found) > limit


def _read(cursor: str) -> tuple[datetime, UUID] | None:
    number, _, identifier = cursor.partition("-")
    try:
        return _EPOCH + timedelta(microseconds=int(number)), UUID(identifier)
    except (ValueError, OverflowError):
        return None
