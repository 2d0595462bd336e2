"""Write spans with their traces' summaries, and remove the oldest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet

from messaging import clock, signals
from messaging.ids import id_at, new_id, time_of
from messaging.models import Span, Trace
from messaging.settings import options
from messaging.spans.records import SpanRecord

PRUNE_BATCH = 5_000

# A late root may come after its children; its name is the trace's from then on. "excluded" is what this batch knows.
_EARLIER_ROOT = "excluded.root_us < messaging_trace.root_us"
_UPSERT = f"""
INSERT INTO messaging_trace (trace_id, sort_id, started_us, ended_us, root_us, name, service, correlation_id, spans,
    errors, is_inner)
{{source}}
ON CONFLICT (trace_id) DO UPDATE SET
    started_us = CASE WHEN excluded.started_us < messaging_trace.started_us THEN excluded.started_us
        ELSE messaging_trace.started_us END,
    ended_us = CASE WHEN excluded.ended_us > messaging_trace.ended_us THEN excluded.ended_us
        ELSE messaging_trace.ended_us END,
    name = CASE WHEN {_EARLIER_ROOT} THEN excluded.name ELSE messaging_trace.name END,
    service = CASE WHEN {_EARLIER_ROOT} THEN excluded.service ELSE messaging_trace.service END,
    root_us = CASE WHEN {_EARLIER_ROOT} THEN excluded.root_us ELSE messaging_trace.root_us END,
    correlation_id = CASE WHEN messaging_trace.correlation_id = '' THEN excluded.correlation_id
        ELSE messaging_trace.correlation_id END,
    spans = messaging_trace.spans + excluded.spans,
    errors = messaging_trace.errors + excluded.errors,
    is_inner = messaging_trace.is_inner AND excluded.is_inner"""
_UPSERT_ONE = _UPSERT.format(source="VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)")
_UPSERT_MANY = _UPSERT.format(
    source="""SELECT * FROM unnest(%s::text[], %s::uuid[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[],
    %s::text[], %s::text[], %s::int[], %s::int[], %s::bool[])"""
)
_COLUMNS = (
    "id, trace_id, span_id, parent_id, name, kind, service, scope, started_us, duration_us, status, status_message,"
    " message_id, consumer, type, correlation_id, attributes, events, links"
)
_COPY = f"COPY messaging_span ({_COLUMNS}) FROM STDIN"
_INSERT = f"INSERT INTO messaging_span ({_COLUMNS}) VALUES ({', '.join(['%s'] * 19)})"


@dataclass(slots=True)
class _Sum:
    """What a batch of spans adds to one trace."""

    first: SpanRecord
    started_us: int
    ended_us: int
    spans: int = 0
    errors: int = 0
    correlation_id: str = ""
    is_inner: bool = True


def write(records: Sequence[SpanRecord]) -> int:
    """Store spans in one transaction and tell the pages; return how many."""
    if not records:
        return 0
    with transaction.atomic(), connection.cursor() as cursor:
        rows = [_row(record) for record in records]
        # In one order everywhere: two processes with spans of the same traces wait, they do not deadlock.
        sums = [_summary(*each) for each in sorted(_sums(records).items())]
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL synchronous_commit = off")  # losing a picture is harmless
            with cursor.copy(_COPY) as copy:
                for row in rows:
                    copy.write_row(row)
            cursor.execute(_UPSERT_MANY, [list(column) for column in zip(*sums, strict=True)])
        else:
            cursor.executemany(_INSERT, rows)
            cursor.executemany(_UPSERT_ONE, sums)
    signals.changed.send_robust(None, topics=frozenset({"traces"}))
    return len(rows)


def _row(record: SpanRecord) -> tuple[Any, ...]:
    """Return a row as the database takes it: neither COPY nor a batch of plain statements goes through the models."""
    return (
        _uuid(new_id()), record.trace_id, record.span_id, record.parent_id, record.name, record.kind, record.service,
        record.scope, record.started_us, record.duration_us, record.status, record.status_message,
        _uuid(record.message_id), record.consumer, record.type, record.correlation_id, json.dumps(record.attributes),
        json.dumps(record.events), json.dumps(record.links),
    )  # fmt: skip


def _uuid(value: UUID | None) -> UUID | str | None:
    return value if value is None or connection.features.has_native_uuid_field else value.hex


def _sums(records: Iterable[SpanRecord]) -> dict[str, _Sum]:
    sums: dict[str, _Sum] = {}
    for record in records:
        ended = record.started_us + record.duration_us
        known = sums.setdefault(record.trace_id, _Sum(record, record.started_us, ended))
        known.started_us, known.ended_us = min(known.started_us, record.started_us), max(known.ended_us, ended)
        known.spans += 1
        known.errors += record.status == "error"
        known.correlation_id = known.correlation_id or record.correlation_id
        known.is_inner = known.is_inner and record.is_inner
        if _root_time(record) < _root_time(known.first):
            known.first = record
    return sums


def _summary(trace_id: str, known: _Sum) -> tuple[Any, ...]:
    return (
        trace_id, _uuid(new_id()), known.started_us, known.ended_us, _root_time(known.first), known.first.name,
        known.first.service, known.correlation_id, known.spans, known.errors, known.is_inner,
    )  # fmt: skip


def _root_time(record: SpanRecord) -> int:
    """A span without a parent comes before every other, whatever the clocks of two machines say."""
    return record.started_us - (1 << 52 if not record.parent_id else 0)


def limits() -> tuple[timedelta, int]:
    """Return how old, and how many, spans may be."""
    return timedelta(hours=options().span_hours), options().span_limit


def prune() -> int:
    """Delete spans past their age or beyond their number, oldest first, in short transactions; return how many."""
    removed = 0
    age, most = limits()
    too_old = Span.objects.filter(id__lt=id_at(clock.now() - age))
    while deleted := _delete_first(too_old, PRUNE_BATCH):
        removed += deleted
    surplus = Span.objects.count() - most
    while surplus > 0 and (deleted := _delete_first(Span.objects.all(), min(surplus, PRUNE_BATCH))):
        removed, surplus = removed + deleted, surplus - deleted
    # Written in one transaction with its first spans, a little after their ids were made.
    oldest = Span.objects.order_by("id").values_list("id", flat=True).first()
    since = (time_of(oldest) if oldest else None) or clock.now()
    gone = Trace.objects.filter(~Exists(Span.objects.filter(trace_id=OuterRef("trace_id"))))
    gone = gone.filter(sort_id__lt=id_at(since + timedelta(minutes=1)))
    gone.delete()
    return removed


def _delete_first(rows: QuerySet[Span], count: int) -> int:
    ids = list(rows.order_by("id").values_list("id", flat=True)[:count])
    return rows.filter(id__lte=ids[-1]).delete()[0] if ids else 0
