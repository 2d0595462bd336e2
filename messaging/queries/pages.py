"""Keyset pages: a cursor is the last id seen, so a page costs the same however deep it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import QuerySet

Row = TypeVar("Row")

COUNT_CAP = 10_000
"""Counts stop here and are shown as "≥ 10,000"."""

PAGE_CAP = 500
"""No page holds more rows, whatever was asked for."""


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Row]):
    """Rows newest first; ``older`` and ``newer`` are cursors (pass as after= / before=) or None at the ends."""

    rows: tuple[Row, ...]
    older: UUID | None
    newer: UUID | None
    ended_early: datetime | None = None
    """Set where no index serves what is asked for: so far this page looked, and its cursor looks on from there."""


@dataclass(frozen=True, kw_only=True)
class CappedCount:
    """A count that gave up at COUNT_CAP."""

    value: int
    is_capped: bool


def capped_count(queryset: QuerySet[Any, Any]) -> CappedCount:
    """Count the rows, but stop one after COUNT_CAP."""
    found = queryset.order_by()[: COUNT_CAP + 1].count()
    return CappedCount(value=min(found, COUNT_CAP), is_capped=found > COUNT_CAP)


def keyset_page(
    queryset: QuerySet[Any, Any],
    convert: Callable[[list[Any]], list[Row]],
    *,
    limit: int,
    after: UUID | None,
    before: UUID | None,
    order: str = "id",
) -> Page[Row]:
    """Cut one page out of ``queryset`` by id, newest first; ``convert`` turns its records into rows.

    ``order`` names what sorts as the id does. ``before`` (towards newer rows) wins when both cursors are given.
    """
    limit = max(1, min(limit, PAGE_CAP))
    if before is not None:
        found = list(queryset.filter(id__gt=before).order_by(order)[: limit + 1])
        records, has_more = found[:limit][::-1], len(found) > limit
    else:
        older_than = queryset if after is None else queryset.filter(id__lt=after)
        found = list(older_than.order_by(f"-{order}")[: limit + 1])
        records, has_more = found[:limit], len(found) > limit
    if not records:
        return Page(rows=(), older=None, newer=None)
    has_older = before is not None or has_more
    has_newer = has_more if before is not None else after is not None
    return Page(
        rows=tuple(convert(records)),
        older=records[-1].id if has_older else None,
        newer=records[0].id if has_newer else None,
    )


def is_storable(*texts: str) -> bool:
    """Return whether a database can hold, and so find, these texts: PostgreSQL refuses NUL and lone surrogates."""
    return not any("\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text) for text in texts)
