"""Keyset pages: a cursor is the last id seen, so a page costs the same however deep it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

Row = TypeVar("Row")

COUNT_CAP = 10_000
"""Counts stop here and are shown as "≥ 10,000"."""


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Row]):
    """Rows newest first; ``older`` and ``newer`` are cursors (pass as after= / before=) or None at the ends."""

    rows: tuple[Row, ...]
    older: UUID | None
    newer: UUID | None


@dataclass(frozen=True, kw_only=True)
class CappedCount:
    """A count that gave up at COUNT_CAP."""

    value: int
    is_capped: bool
