"""What the bus keeps: rows and bytes of each table, since when, for how long, and when the next pruning is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Model

from messaging import models
from messaging.ids import time_of
from messaging.models import Housekeeping
from messaging.settings import options

PRUNE, PRUNE_SPANS = "messaging.prune", "messaging.prune_spans"
REQUEST_AGE = timedelta(days=7)
COUNTED = 100_000
"""Most rows that are counted one by one, where the database keeps no estimate."""


@dataclass(frozen=True, kw_only=True)
class StorageRow:
    """One table. What is not known is None."""

    table: str
    what: str
    kind: str
    """work, history, observation, memory."""
    rows: int
    is_estimate: bool
    """The database's own estimate; on SQLite ``rows`` is exact below 100,000."""
    bytes: int | None
    """With its indexes; SQLite does not tell."""
    oldest_at: datetime | None
    keeps_seconds: float | None
    """How long a row stays; None where it leaves when its work is done."""
    next_prune_at: datetime | None


@dataclass(frozen=True)
class _Kept:
    model: type[Model]
    what: str
    kind: str
    by: str = ""
    """The indexed column that tells the age: a UUIDv7 or a time."""
    task: str = ""


_TABLES = (
    _Kept(models.OutboxEntry, "outbox", "work"),
    _Kept(models.ScheduledMessage, "scheduled messages", "work"),
    _Kept(models.Delivery, "deliveries", "work"),
    _Kept(models.DeadLetter, "dead letters", "work"),
    _Kept(models.QuarantinedMessage, "quarantine", "work"),
    _Kept(models.SagaInstance, "sagas", "work"),
    _Kept(models.Message, "messages", "history", "id", PRUNE),
    _Kept(models.Attempt, "attempts", "history", "id", PRUNE),
    _Kept(models.SagaTransition, "moves of sagas", "history", "id", PRUNE),
    _Kept(models.AuditRecord, "operators' actions", "history", "id", PRUNE),
    _Kept(models.StoredEvent, "events of streams", "history"),
    _Kept(models.Rollup, "counters by the minute", "observation", "minute", PRUNE),
    _Kept(models.Span, "spans", "observation", "id", PRUNE_SPANS),
    _Kept(models.Trace, "traces", "observation", "sort_id", PRUNE_SPANS),
    _Kept(models.ReceivedMessage, "ids from outside", "memory", "received_at", PRUNE),
    _Kept(models.RequestRecord, "request ids", "memory", "created_at", PRUNE),
)


def storage(intervals: Mapping[str, float]) -> list[StorageRow]:
    """Return the tables; ``intervals`` are the seconds between the runs of the scheduler's tasks."""
    sizes, oldest = _sizes(), _oldest()
    runs = {row.name: row.started_at for row in Housekeeping.objects.filter(name__in=(PRUNE, PRUNE_SPANS))}
    next_runs = {name: at + timedelta(seconds=intervals[name]) for name, at in runs.items() if name in intervals}
    ages, rows = _ages(), []
    for kept in _TABLES:
        table = kept.model._meta.db_table
        count, size = sizes.get(table, (0, None))
        age = ages.get(kept.model)
        rows.append(
            StorageRow(
                table=table, what=kept.what, kind=kept.kind, rows=count, is_estimate=size is not None, bytes=size,
                oldest_at=oldest.get(table), keeps_seconds=age.total_seconds() if age else None,
                next_prune_at=next_runs.get(kept.task),
            )
        )  # fmt: skip
    return rows


def _ages() -> dict[type[Model], timedelta]:
    given = options()
    history, spans = timedelta(days=given.retention_days), timedelta(hours=given.span_hours)
    return {
        models.Message: history, models.Attempt: history, models.SagaTransition: history,
        models.AuditRecord: timedelta(days=given.audit_days), models.Rollup: timedelta(days=given.rollup_days),
        models.Span: spans, models.Trace: spans, models.ReceivedMessage: timedelta(days=given.dedup_days),
        models.RequestRecord: REQUEST_AGE,
    }  # fmt: skip


def _sizes() -> dict[str, tuple[int, int | None]]:
    """Return rows and bytes of each table, partitions added up."""
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            parts = " UNION ALL ".join(
                f"SELECT '{name}', (SELECT count(*) FROM (SELECT 1 FROM {name} LIMIT {COUNTED}))"
                for name in (kept.model._meta.db_table for kept in _TABLES)
            )
            cursor.execute(parts)
            return {name: (count, None) for name, count in cursor.fetchall()}
        cursor.execute(
            "SELECT coalesce(parent.relname, c.relname), sum(greatest(c.reltuples, 0))::bigint,"
            " sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c"
            " LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class parent ON parent.oid = i.inhparent"
            " WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace"
            " AND c.relname LIKE 'messaging%%' GROUP BY 1",
            [],
        )
        return {name: (int(count), int(size)) for name, count, size in cursor.fetchall()}


def _oldest() -> dict[str, datetime]:
    dated = [kept for kept in _TABLES if kept.by]
    parts = " UNION ALL ".join(
        f"SELECT '{kept.model._meta.db_table}', (SELECT {_text(kept.by)} FROM {kept.model._meta.db_table}"
        # The table's column, not the text of the same name: that one would be made of every row and sorted.
        f" ORDER BY {kept.model._meta.db_table}.{kept.by} LIMIT 1)"
        for kept in dated
    )
    with connection.cursor() as cursor:
        cursor.execute(parts)
        found = {name: _moment(value) for name, value in cursor.fetchall() if value is not None}
    return {name: moment for name, moment in found.items() if moment is not None}


def _text(column: str) -> str:
    """Return a column as text: a time in ISO 8601 and UTC, an id as it is."""
    if connection.vendor != "postgresql":
        return column
    if column in ("id", "sort_id"):
        return f"{column}::text"
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')"""


def _moment(value: Any) -> datetime | None:
    text = str(value)
    try:
        return time_of(UUID(text))
    except ValueError:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
