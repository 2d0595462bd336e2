"""Retention: what is past its time leaves, history by whole days, nothing that unfinished work still needs.

Every step is a statement of its own: a run that is cut off goes on with the next one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection

from messaging import chain, failpoints
from messaging.database import store
from messaging.database.connections import retention
from messaging.database.partitions import HISTORY
from messaging.ids import id_at
from messaging.models import (
    AuditRecord,
    CancelledMessage,
    DeadLetter,
    Delivery,
    HistoryReplay,
    KeyCounter,
    OutboxEntry,
    QuarantinedMessage,
    ReceivedMessage,
    RequestRecord,
    Rollup,
    SagaInstance,
    ScheduledMessage,
    ScheduleFiring,
)
from messaging.settings import options
from messaging.sweeping import sweep_bodies

REQUEST_DAYS = 7
BATCH = 5_000
COUNTER_AGE = timedelta(days=1)
"""How far the clocks of producers may be apart without harm to the order of a key."""
COUNTER_BATCH = 10_000
AUDIT = AuditRecord._meta.db_table


def prune() -> dict[str, int]:
    """Delete what is past its retention; history goes by whole partitions on PostgreSQL. Returns rows per table.

    Nothing is removed that unfinished work still points into.
    """
    now = store().now()
    chain.seal_everything()  # what leaves was sealed, so that its absence is told from a theft
    lowest = _oldest_needed(now - timedelta(days=options().retention_days))
    keep_from = datetime.fromtimestamp((lowest.int >> 80) / 1000, UTC)
    audit_from = now - timedelta(days=options().audit_days)
    bounds = {table: audit_from if table == AUDIT else keep_from for table in HISTORY}
    removed = {table: _prune_history(table, bound) for table, bound in bounds.items()}
    removed["bodies"] = sweep_bodies(now, keep_from=keep_from)
    removed["messaging_seal"] = sum(
        chain.forget_pruned(kind, bounds[chain.table_of(kind)._meta.db_table].date()) for kind in chain.KINDS
    )
    for model, condition in (
        (ReceivedMessage, {"received_at__lt": now - timedelta(days=options().dedup_days)}),
        (RequestRecord, {"created_at__lt": now - timedelta(days=REQUEST_DAYS)}),
        (CancelledMessage, {"message_id__lt": lowest}),
        (ScheduleFiring, {"fired_at__lt": keep_from}),
        (Rollup, {"minute__lt": now - timedelta(days=options().rollup_days)}),
        (DeadLetter, {"state__in": ["resolved", "discarded"], "resolved_at__lt": keep_from}),
        (SagaInstance, {"ended_at__lt": keep_from}),
        (HistoryReplay, {"ended_at__lt": keep_from}),
        (QuarantinedMessage, {"state__in": ["accepted", "discarded"], "resolved_at__lt": keep_from}),
    ):
        removed[model._meta.db_table] = model.objects.filter(**condition).delete()[0]
    removed[KeyCounter._meta.db_table] = _prune_counters(now)
    return removed


def _prune_counters(now: datetime) -> int:
    """Delete counters whose last position is old; return how many.

    A new counter begins at the time in microseconds, which is above all of these, so order is kept whatever is still
    unfinished, and also between a replay and what was published since.
    """
    old = KeyCounter.objects.filter(last__lt=int((now - COUNTER_AGE).timestamp() * 1_000_000))
    with failpoints.atomic("prune_counters"):
        # A producer has locked those it skips.
        keys = list(old.select_for_update(skip_locked=True).values_list("key", flat=True)[:COUNTER_BATCH])
        return old.filter(key__in=keys).delete()[0]


def _oldest_needed(keep_from: datetime) -> UUID:
    """Return the lowest id of the history that work still needs, at most that of ``keep_from``."""
    lowest = id_at(keep_from)
    unresolved = DeadLetter.objects.exclude(state__in=["resolved", "discarded"])
    # By the message's id, not by the time of the row: a message gets its id before its row is written.
    for work in (ScheduledMessage.objects.all(), OutboxEntry.objects.all(), Delivery.objects.all(), unresolved):
        needed = work.order_by("message_id").values_list("message_id", flat=True).first()
        if needed is not None:
            lowest = min(lowest, needed)
    unfinished = SagaInstance.objects.filter(ended_at=None).order_by("id").values_list("id", flat=True).first()
    return min(lowest, unfinished) if unfinished else lowest


def _prune_history(table: str, keep_from: datetime) -> int:
    """Remove whole days, as partitions are cut; return rows, on PostgreSQL partitions."""
    if connection.vendor == "postgresql":
        return _drop_partitions(table, keep_from)
    midnight = keep_from.replace(hour=0, minute=0, second=0, microsecond=0)
    removed = 0
    # In batches: one long transaction would stop every other writer of the file.
    while batch := _delete_batch(table, id_at(midnight).hex):
        removed += batch
    return removed


def _delete_batch(table: str, low: str) -> int:
    with retention(), failpoints.atomic("prune"), connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE id < %s LIMIT {BATCH})", [low])
        return max(int(cursor.rowcount), 0)


def _drop_partitions(table: str, keep_from: datetime) -> int:
    """Drop the day partitions that end before ``keep_from``; return how many."""
    dropped = 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", [table])
        for (name,) in cursor.fetchall():
            day = name.rsplit("_", 1)[-1]
            if day.isdecimal() and day < f"{keep_from:%Y%m%d}":
                cursor.execute(f"DROP TABLE {name}")
                failpoints.reach("partition.dropped")
                dropped += 1
    return dropped
