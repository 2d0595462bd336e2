"""What a scheduler does from time to time: pauses that end by themselves, retention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection, transaction

from messaging import audit, chain
from messaging.actors import task
from messaging.database import store
from messaging.database.connections import retention
from messaging.database.partitions import HISTORY
from messaging.ids import id_at
from messaging.models import (
    CancelledMessage,
    ConsumerState,
    DeadLetter,
    Delivery,
    KeyCounter,
    OutboxEntry,
    QuarantinedMessage,
    ReceivedMessage,
    RequestRecord,
    Rollup,
    ScheduledMessage,
    ScheduleFiring,
)
from messaging.settings import options
from messaging.sweeping import sweep_bodies

REQUEST_DAYS = 7
ROLLUP_DAYS = 90
COUNTER_AGE = timedelta(days=1)
"""How far the clocks of producers may be apart without harm to the order of a key."""
COUNTER_BATCH = 10_000


def resume_expired_pauses() -> int:
    """Take the mark off consumers whose pause has ended (they are claimed for already), with an audit record."""
    now = store().now()
    names = list(ConsumerState.objects.filter(paused_until__lte=now).values_list("name", flat=True))
    for name in names:
        with transaction.atomic():
            ended = ConsumerState.objects.filter(name=name, paused_until__lte=now).update(
                paused_at=None, paused_by="", pause_reason="", paused_until=None
            )
            if ended:
                audit.record(task("scheduler"), "consumer.resume", f"consumer:{name}", reason="The pause expired.")
    return len(names)


def pause_drained() -> int:
    """Pause the consumers whose drain is over: nothing relayed before it began is left. Return how many."""
    done = 0
    for name, drain_at in ConsumerState.objects.filter(drain_at__isnull=False).values_list("name", "drain_at"):
        waiting = Delivery.objects.filter(consumer=name, created_at__lte=drain_at)
        if waiting.exists() or OutboxEntry.objects.filter(created_at__lte=drain_at).exists():
            continue
        with transaction.atomic():
            # The time in the condition: a resume, or another drain, may have come in between.
            ended = ConsumerState.objects.filter(name=name, drain_at=drain_at).update(
                paused_at=store().now(), paused_until=None, drain_at=None
            )
            if ended:
                audit.record(task("scheduler"), "consumer.pause", f"consumer:{name}", reason="It is drained.")
        done += ended
    return done


def prune() -> dict[str, int]:
    """Delete what is past its retention; history goes by whole partitions on PostgreSQL. Returns rows per table.

    Nothing is removed that unfinished work still points into.
    """
    now = store().now()
    chain.seal_everything()  # what leaves was sealed, so that its absence is told from a theft
    lowest = _oldest_needed(now - timedelta(days=options().retention_days))
    keep_from = datetime.fromtimestamp((lowest.int >> 80) / 1000, UTC)
    removed = {table: _prune_history(table, keep_from) for table in HISTORY}
    removed["bodies"] = sweep_bodies(now, keep_from=keep_from)
    removed["messaging_seal"] = chain.forget_pruned(keep_from.date())
    for model, condition in (
        (ReceivedMessage, {"received_at__lt": now - timedelta(days=options().dedup_days)}),
        (RequestRecord, {"created_at__lt": now - timedelta(days=REQUEST_DAYS)}),
        (CancelledMessage, {"message_id__lt": lowest}),
        (ScheduleFiring, {"fired_at__lt": keep_from}),
        (Rollup, {"minute__lt": now - timedelta(days=ROLLUP_DAYS)}),
        (DeadLetter, {"state__in": ["resolved", "discarded"], "resolved_at__lt": keep_from}),
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
    with transaction.atomic():
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
    return lowest


def _prune_history(table: str, keep_from: datetime) -> int:
    """Remove whole days, as partitions are cut; return rows, on PostgreSQL partitions."""
    if connection.vendor == "postgresql":
        return _drop_partitions(table, keep_from)
    midnight = keep_from.replace(hour=0, minute=0, second=0, microsecond=0)
    with retention(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table} WHERE id < %s", [id_at(midnight).hex])
        return int(cursor.rowcount)


def _drop_partitions(table: str, keep_from: datetime) -> int:
    """Drop the day partitions that end before ``keep_from``; return how many."""
    dropped = 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", [table])
        for (name,) in cursor.fetchall():
            day = name.rsplit("_", 1)[-1]
            if day.isdecimal() and day < f"{keep_from:%Y%m%d}":
                cursor.execute(f"DROP TABLE {name}")
                dropped += 1
    return dropped
