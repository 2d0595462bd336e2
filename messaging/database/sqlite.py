"""The delivery path on SQLite. Transactions are IMMEDIATE, so a writer never meets another half-way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from messaging import clock, failpoints, filters
from messaging.database import hint
from messaging.database import sqlite_sql as sql
from messaging.database.connections import retention, text_time
from messaging.database.statements import (
    AttemptRow,
    Claimed,
    Delta,
    Lanes,
    Relayed,
    Store,
    Turn,
    start_position,
    waited_us,
)
from messaging.envelope import Envelope
from messaging.ids import new_id

__all__ = ["SqliteStore", "retention"]


class SqliteStore(Store):
    """See Store. Ids are stored as 32 hex digits and times as text, as Django does."""

    hint_is_local = True

    def publish(self, envelopes: Sequence[Envelope]) -> None:
        now = text_time(clock.now())
        with connection.cursor() as cursor:
            envelopes = _placed(cursor, envelopes)
            cursor.executemany(sql.INSERT_MESSAGE, [(*_message(one), now) for one in envelopes])
            cursor.executemany(sql.INSERT_OUTBOX, [_outbox(one, now) for one in envelopes])
        transaction.on_commit(hint.give, robust=True)

    def schedule(self, envelopes: Sequence[Envelope]) -> None:
        now = text_time(clock.now())
        with connection.cursor() as cursor:
            cursor.executemany(sql.INSERT_MESSAGE, [(*_message(one), now) for one in envelopes])
            cursor.executemany(sql.INSERT_SCHEDULED, [_scheduled(one, now) for one in envelopes])

    def move_due(self, limit: int) -> int:
        now = text_time(clock.now())
        with connection.cursor() as cursor:
            cursor.execute(sql.SELECT_DUE, [now, 1])
            if cursor.fetchone() is None:
                return 0  # looked without a write transaction, which would stop every other writer
        with failpoints.atomic("move_due"), connection.cursor() as cursor:
            cursor.execute(sql.SELECT_DUE, [now, limit])
            due = cursor.fetchall()
            places = _take_positions(cursor, due)
            cursor.executemany(sql.MOVE_DUE, [(places.get(id), now, id) for id, _, _ in due])
            cursor.executemany(
                "DELETE FROM messaging_scheduledmessage WHERE message_id = %s", [(id,) for id, *_ in due]
            )
        return len(due)

    def take_back(self, message_id: UUID, *, by: str, reason: str) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(sql.NOTE_CANCELLED, [text_time(clock.now()), by, reason, message_id.hex])
            cursor.execute("DELETE FROM messaging_scheduledmessage WHERE message_id = %s", [message_id.hex])
            return _rows(cursor) == 1

    def note_firing(self, *, schedule: str, due_at: datetime, message_id: UUID, by: str = "") -> bool:
        with connection.cursor() as cursor:
            now = text_time(clock.now())
            cursor.execute(sql.NOTE_FIRING, [schedule, text_time(due_at), now, message_id.hex, by])
            return _rows(cursor) == 1

    def direct(self, envelope: Envelope) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql.INSERT_OUTBOX, _outbox(envelope, text_time(clock.now())))
        transaction.on_commit(hint.give, robust=True)

    def relay(self, limit: int, *, traced: bool = False) -> Relayed:
        with failpoints.atomic("relay"), connection.cursor() as cursor:
            cursor.execute(sql.LAST_OF_BATCH, [limit])
            taken, first, last = cursor.fetchone()
            if not taken:
                return Relayed(taken=0, deliveries={})
            # One writer at a time: between these statements nobody can add a row inside the range.
            cursor.execute(sql.FILTERED, [first, last])
            refused = filters.refused(cursor.fetchall())
            _note_refused(cursor, refused)
            named = json.dumps([f"{message_id}{consumer}" for message_id, consumer in refused])
            bounds = {"now": text_time(clock.now()), "first": first, "last": last, "refused": named}
            cursor.execute(sql.FAN_OUT, bounds)
            deliveries = _count(cursor.fetchall())
            failpoints.reach("relay.fanned_out")
            minute = text_time(_minute(clock.now()))
            cursor.execute(sql.COUNT_PUBLISHED, [minute, first, last])
            relayed = [(minute, name, "", "relayed", count, 0, 0, "{}") for name, count in deliveries.items()]
            cursor.executemany(sql.INSERT_DELTA, relayed)
            if traced:
                cursor.execute(sql.CONTEXTS, [first, last])
            contexts = tuple(context for (context,) in cursor.fetchall()) if traced else ()
            cursor.execute("DELETE FROM messaging_outboxentry WHERE id BETWEEN %s AND %s", [first, last])
        return Relayed(taken=taken, deliveries=deliveries, contexts=contexts)

    def is_ripe(self, *, consumer: str, size: int, seconds: float) -> bool:
        now = clock.now()
        old = text_time(now - timedelta(seconds=seconds))
        with connection.cursor() as cursor:
            cursor.execute(sql.RIPE, {"consumer": consumer, "size": size, "now": text_time(now), "old": old})
            return bool(cursor.fetchone()[0])

    def claim(self, *, consumer: str, token: UUID, worker: UUID, limit: int, alone: bool) -> int:
        parameters: dict[str, str | int] = {
            "token": token.hex, "worker": worker.hex, "consumer": consumer, "limit": limit,
            "now": text_time(clock.now()),
        }  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute(sql.CLAIM_ALONE if alone else sql.CLAIM, parameters)
            return _rows(cursor)

    def claim_in_order(self, *, consumer: str, token: UUID, worker: UUID, limit: int, after: str = "") -> Lanes:
        now = text_time(clock.now())
        given: dict[str, str | int] = {"consumer": consumer, "now": now, "limit": limit, "after": after}
        with failpoints.atomic("claim_in_order"), connection.cursor() as cursor:
            cursor.execute(sql.HEADS, given)
            heads = cursor.fetchall()
            chosen = _run_of(cursor, heads, limit, given)
            cursor.executemany(
                "UPDATE messaging_delivery SET claim_token = %s, worker = %s, claimed_at = %s WHERE rowid = %s",
                [(token.hex, worker.hex, now, row) for row in chosen],
            )
        last = max((head[1] for head in heads), default=None)
        return Lanes(claimed=len(chosen), last=last if len(heads) == limit else None)

    def lock(
        self, *, token: UUID, only: UUID | None = None, in_order: bool = False, is_patient: bool = False,
        turn: Turn | None = None,
    ) -> list[Claimed]:  # fmt: skip
        now = clock.now()
        statement = sql.LOCK_IN_ORDER if in_order else sql.LOCK
        with connection.cursor() as cursor:
            cursor.execute(statement, {"token": token.hex, "only": only.hex if only else None})
            return [_claimed(row, now) for row in cursor.fetchall()]

    def settle(self, *, token: UUID, rows: Sequence[AttemptRow], deltas: Sequence[Delta]) -> int:
        with connection.cursor() as cursor:
            marks = ", ".join(["%s"] * len(rows))
            cursor.execute(
                f"DELETE FROM messaging_delivery WHERE claim_token = %s AND message_id IN ({marks})",
                [token.hex, *(row.message_id.hex for row in rows)],
            )
            gone = _rows(cursor)
            cursor.executemany(sql.INSERT_ATTEMPT, [_attempt(row) for row in rows])
            cursor.execute(sql.INSERT_UNSEALED, [b"".join(row.id.bytes for row in rows)])
            minute = text_time(_minute(clock.now()))
            cursor.executemany(sql.INSERT_DELTA, [(minute, *_delta(delta)) for delta in deltas])
        return gone

    def release(self, token: UUID) -> int:
        with connection.cursor() as cursor:
            cursor.execute(sql.RELEASE, [token.hex])
            return _rows(cursor)

    def claimable(self) -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute(sql.CLAIMABLE, {"now": text_time(clock.now())})
            return [name for (name,) in cursor.fetchall()]

    def beat(self, worker: UUID, *, is_idle: bool) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE messaging_worker SET heartbeat_at = %s, is_idle = %s WHERE id = %s",
                [text_time(clock.now()), is_idle, worker.hex],
            )
            return bool(cursor.rowcount)

    def end_sessions(self, workers: Sequence[UUID]) -> int:
        return 0  # a frozen writer stops the whole database file, so the process itself must be ended

    def name_session(self, worker: UUID) -> None:
        return

    def lock_subscriptions(self) -> None:
        return  # an open write transaction already keeps every relay out

    def now(self) -> datetime:
        return clock.now()


def _rows(cursor: Any) -> int:
    return max(int(cursor.rowcount), 0)


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _count(rows: Sequence[tuple[str]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for (consumer,) in rows:
        counts[consumer] = counts.get(consumer, 0) + 1
    return counts


def _placed(cursor: Any, envelopes: Sequence[Envelope]) -> list[Envelope]:
    """Give the next positions of their keys to those whose type somebody wants in order."""
    asking = [(one.id, one.type, one.key) for one in envelopes if one.position is None]
    places = _take_positions(cursor, asking)
    return [replace(one, position=places.get(one.id, one.position)) for one in envelopes]


def _take_positions(cursor: Any, asking: Sequence[tuple[Any, str, str | None]]) -> dict[Any, int]:
    """Take the next positions for messages (id, type, key), where somebody wants their type in order."""
    if all(key is None for _, _, key in asking):
        return {}
    cursor.execute("SELECT DISTINCT type FROM messaging_subscription WHERE is_ordered")
    ordered = {type_ for (type_,) in cursor.fetchall()}
    lanes: dict[str, list[Any]] = {}
    for id, type_, key in asking:
        if key is not None and type_ in ordered:
            lanes.setdefault(key, []).append(id)
    places: dict[Any, int] = {}
    for key, ids in lanes.items():
        cursor.execute(sql.TAKE_POSITIONS, [key, start_position() + len(ids), len(ids)])
        last = cursor.fetchone()[0]
        places |= {id: last - back for back, id in enumerate(reversed(ids))}
    return places


def _run_of(cursor: Any, heads: Sequence[tuple[Any, ...]], limit: int, given: dict[str, str | int]) -> list[int]:
    """Return the rows to claim: one that must run alone, or the heads and what may follow each of them."""
    alone = [row for row, *_, is_alone in heads if is_alone]
    if alone:
        return alone[:1]
    chosen: list[int] = [row for row, *_ in heads]
    for _, key, position, failures, _ in heads:
        room = limit - len(chosen)
        if room > 0 and not failures:
            cursor.execute(sql.FOLLOWERS, {**given, "key": key, "position": position, "limit": room})
            chosen += [row for row, _ in takewhile(lambda found: found[1], cursor.fetchall())]
    return chosen


def _note_refused(cursor: Any, refused: Sequence[tuple[str, str]]) -> None:
    """Append that a filter did not want these, so that a recount knows it, and count it."""
    if not refused:
        return
    now, ids = clock.now(), [new_id() for _ in refused]
    cursor.executemany(
        sql.INSERT_ATTEMPT,
        [
            (id.hex, message_id, consumer, 1, 0, "filtered", text_time(now), 0, "relay", None, None, None)
            for id, (message_id, consumer) in zip(ids, refused, strict=True)
        ],
    )
    cursor.execute(sql.INSERT_UNSEALED, [b"".join(id.bytes for id in ids)])
    counts = Counter(consumer for _, consumer in refused)
    minute = text_time(_minute(now))
    deltas = [(minute, consumer, "", "filtered", count, 0, 0, "{}") for consumer, count in counts.items()]
    cursor.executemany(sql.INSERT_DELTA, deltas)


def _hex(value: UUID | None) -> str | None:
    return value.hex if value else None


def _message(one: Envelope) -> tuple[Any, ...]:
    return (
        one.id.hex, one.type, one.version, one.kind, one.source, one.tenant, one.content_type, one.body,
        json.dumps(one.headers), one.key, one.position, one.correlation_id, one.causation_id, one.traceparent,
        text_time(one.occurred_at), text_time(one.expires_at) if one.expires_at else None,
        json.dumps(one.blob) if one.blob else None, one.consumer,
    )  # fmt: skip


def _outbox(one: Envelope, now: str) -> tuple[Any, ...]:
    return one.id.hex, one.type, one.key, one.position, now, one.consumer, one.run, _hex(one.resolves)


def _scheduled(one: Envelope, now: str) -> tuple[Any, ...]:
    assert one.due_at is not None
    due_at = text_time(one.due_at)
    return one.id.hex, one.type, one.key, due_at, now, one.consumer, one.run, _hex(one.resolves)


def _attempt(row: AttemptRow) -> tuple[Any, ...]:
    error = row.error
    return (
        row.id.hex, row.message_id.hex, row.consumer, row.run, row.number, row.outcome, text_time(row.started_at),
        row.duration_us, row.worker, error.type if error else None, error.message if error else None,
        error.fingerprint if error else None,
    )  # fmt: skip


def _delta(delta: Delta) -> tuple[Any, ...]:
    return (
        delta.consumer, delta.type, delta.outcome, delta.count, delta.duration_us, delta.critical_us,
        json.dumps(delta.buckets),
    )  # fmt: skip


def _time(value: datetime | None, otherwise: datetime) -> datetime:
    # Django converts columns declared as datetime, but leaves them without a zone.
    return value.replace(tzinfo=UTC) if value else otherwise


def _claimed(row: tuple[Any, ...], now: datetime) -> Claimed:
    return Claimed(
        message_id=UUID(row[0]), consumer=row[1], run=row[2], failures=row[3], crashes=row[4],
        resolves=UUID(row[5]) if row[5] else None, type=row[6] or "", version=row[7] or 0, body=bytes(row[8] or b""),
        headers=json.loads(row[9]) if row[9] else {}, key=row[10], correlation_id=row[11] or "", causation_id=row[12],
        traceparent=row[13] or "", source=row[14] or "", tenant=row[15] or "", published_at=_time(row[16], now),
        created_at=_time(row[17], now), locked_at=now, expires_at=row[18].replace(tzinfo=UTC) if row[18] else None,
        blob=json.loads(row[19]) if row[19] else None, position=row[20], waited_us=waited_us(row[21], row[22]),
    )  # fmt: skip
