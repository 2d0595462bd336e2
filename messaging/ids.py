"""Identifiers: UUIDv7 (RFC 9562), so that ids sort by time and partitions are cut by id."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import uuid_utils


def new_id() -> uuid.UUID:
    """Return a fresh UUIDv7, monotonic within the process."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def id_at(moment: datetime) -> uuid.UUID:
    """Return the lowest UUIDv7 of ``moment`` (millisecond resolution): a bound for ranges and partitions."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return uuid.UUID(int=milliseconds << 80)


def time_of(identifier: uuid.UUID) -> datetime | None:
    """Return the time inside a UUIDv7, or None for another version."""
    if identifier.version != 7:
        return None
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, UTC)
