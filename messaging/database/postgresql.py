"""The delivery path on PostgreSQL: one statement, one round trip each, prepared on the server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import psycopg
from django.db import connection
from psycopg.types.datetime import TimestamptzLoader

from messaging import clock, failpoints, filters
from messaging.database import postgresql_lanes as lanes
from messaging.database import postgresql_sql as sql
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
from messaging.database.virtual import VirtualCursor
from messaging.envelope import Envelope
from messaging.ids import new_id

HINT_CHANNEL = "signalbox_relay"
PATIENT, IMPATIENT, HASTY = "10s", "300ms", "50ms"
"""How long a delivery's transaction waits for a row: by itself, as a chunk that takes turns, and as one that does not
yet and is to learn soon that it has to. None of them waits for the deadlock detector."""


class PostgresStore(Store):
    """See Store. Uses server-side binding under Django's connection, so that statements stay prepared."""

    hint_is_local = False

    def __init__(self) -> None:
        self._has_filters = False
        """What the last batch met: decides which of two ways is tried first, never what is relayed."""

    def publish(self, envelopes: Sequence[Envelope]) -> None:
        is_keyed = any(one.key is not None and one.position is None for one in envelopes)
        start = start_position()
        with _cursor() as cursor:
            if len(envelopes) == 1:
                one = envelopes[0]
                place = (one.key, start + 1, one.type) if is_keyed else ()
                statement = sql.PUBLISH_ONE_KEYED if is_keyed else sql.PUBLISH_ONE
                cursor.execute(statement, (*place, *_message(one), *_routing(one)))
            else:
                places = (start, start) if is_keyed else ()
                statement = sql.PUBLISH_MANY_KEYED if is_keyed else sql.PUBLISH_MANY
                cursor.execute(statement, [*_given(envelopes), *places])

    def schedule(self, envelopes: Sequence[Envelope]) -> None:
        with _cursor() as cursor:
            cursor.execute(sql.SCHEDULE, _given(envelopes))

    def move_due(self, limit: int) -> int:
        start = start_position()
        with _cursor() as cursor:
            cursor.execute(sql.MOVE_DUE, (limit, start, start))
            return max(cursor.rowcount, 0)

    def take_back(self, message_id: UUID, *, by: str, reason: str) -> bool:
        with _cursor() as cursor:
            cursor.execute(sql.TAKE_BACK, (message_id, by, reason))
            return cursor.rowcount == 1

    def note_firing(self, *, schedule: str, due_at: datetime, message_id: UUID, by: str = "") -> bool:
        with _cursor() as cursor:
            cursor.execute(sql.NOTE_FIRING, (schedule, due_at, message_id, by))
            return cursor.rowcount == 1

    def direct(self, envelope: Envelope) -> None:
        with _cursor() as cursor:
            subject = (envelope.id, envelope.type, envelope.key, envelope.position)
            cursor.execute(sql.DIRECT, (*subject, envelope.consumer, *_routing(envelope)))

    def relay(self, limit: int, *, traced: bool = False) -> Relayed:
        if not self._has_filters:
            with _cursor() as cursor:
                counts = dict(cursor.execute(sql.RELAY, (limit, traced)).fetchall())
            self._has_filters = counts.pop(None, 0) > 0
            if counts[""] or not self._has_filters:
                return _relayed(counts)
        return self._relay_filtered(limit, traced)

    def _relay_filtered(self, limit: int, traced: bool) -> Relayed:
        with failpoints.atomic("relay"), _cursor() as cursor:
            rows = cursor.execute(sql.CHOOSE, (limit,)).fetchall()
            # Without one here, the plain statement is tried the next time.
            self._has_filters = any(subscription_filter for _, _, _, subscription_filter, *_ in rows)
            if not rows:
                return Relayed(taken=0, deliveries={})
            refused = filters.refused(rows)
            failpoints.reach("relay.filtered")
            columns = _columns([(new_id(), *pair) for pair in refused], 3)
            packed, chosen = b"".join(id.bytes for id in columns[0]), sorted({row[0] for row in rows})
            counts = dict(cursor.execute(sql.RELAY_CHOSEN, (*columns, packed, chosen, traced)).fetchall())
        return _relayed(counts)

    def is_ripe(self, *, consumer: str, size: int, seconds: float) -> bool:
        with _cursor() as cursor:
            given = {"consumer": consumer, "size": size, "seconds": seconds}
            return bool(cursor.execute(sql.RIPE, given).fetchall()[0][0])

    def claim(self, *, consumer: str, token: UUID, worker: UUID, limit: int, alone: bool) -> int:
        given = {"consumer": consumer, "token": token, "worker": worker, "limit": limit}
        with _cursor() as cursor:
            cursor.execute(sql.CLAIM_ALONE if alone else sql.CLAIM, given)
            return max(cursor.rowcount, 0)

    def claim_in_order(self, *, consumer: str, token: UUID, worker: UUID, limit: int, after: str = "") -> Lanes:
        given = {"consumer": consumer, "token": token, "worker": worker, "limit": limit, "after": after}
        with _cursor() as cursor:
            # Planned anew each time: a plan made while the table was empty would read all of it for every key.
            claimed, heads, last = cursor.execute(lanes.CLAIM_IN_ORDER, given, prepare=False).fetchall()[0]
        return Lanes(claimed=claimed, last=last if heads == limit else None)

    def lock(
        self, *, token: UUID, only: UUID | None = None, in_order: bool = False, is_patient: bool = False,
        turn: Turn | None = None,
    ) -> list[Claimed]:  # fmt: skip
        timeout = PATIENT if is_patient else HASTY if turn and not turn.is_taken else IMPATIENT
        with _cursor() as cursor:
            # psycopg's own, written in C; Django's takes longer than all else that reading a row costs.
            cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
            if turn is not None:
                given = (turn.is_taken, turn.consumer, turn.consumer, timeout, token)
                rows = cursor.execute(sql.LOCK_CHUNK_IN_ORDER if in_order else sql.LOCK_CHUNK, given).fetchall()
            elif only is None:
                rows = cursor.execute(sql.LOCK_IN_ORDER if in_order else sql.LOCK, (timeout, token)).fetchall()
            else:
                statement = sql.LOCK_ONE_IN_ORDER if in_order else sql.LOCK_ONE
                rows = cursor.execute(statement, (timeout, token, only)).fetchall()
        return [_claimed(row) for row in rows]

    def settle(self, *, token: UUID, rows: Sequence[AttemptRow], deltas: Sequence[Delta]) -> int:
        with _cursor() as cursor:
            given = {"token": token, **_attempts(rows), **_deltas(deltas)}
            return int((cursor.execute(sql.SETTLE, given).fetchone() or (0,))[0])

    def release(self, token: UUID) -> int:
        with _cursor() as cursor:
            cursor.execute(sql.RELEASE, (token,))
            return max(cursor.rowcount, 0)

    def claimable(self) -> list[str]:
        with _cursor() as cursor:
            return [name for (name,) in cursor.execute(sql.CLAIMABLE).fetchall()]

    def beat(self, worker: UUID, *, is_idle: bool) -> bool:
        with _cursor() as cursor:
            cursor.execute(sql.BEAT, (is_idle, worker))
            return bool(cursor.rowcount)

    def end_sessions(self, workers: Sequence[UUID]) -> int:
        with _cursor() as cursor:
            cursor.execute(sql.END_SESSIONS, ([session_name(worker) for worker in workers],))
            return len(cursor.fetchall())

    def name_session(self, worker: UUID) -> None:
        with _cursor() as cursor:
            cursor.execute("SELECT set_config('application_name', %s, false)", (session_name(worker),))

    def lock_subscriptions(self) -> None:
        with _cursor() as cursor:
            cursor.execute("LOCK TABLE messaging_subscription IN ACCESS EXCLUSIVE MODE")

    def now(self) -> datetime:
        with _cursor() as cursor:
            (moment,) = cursor.execute("SELECT clock_timestamp()").fetchall()[0]
            return cast(datetime, moment)


def _relayed(counts: dict[str, int]) -> Relayed:
    """Sort the rows of RELAY: how many were taken (""), how many each consumer got, and traceparents (0)."""
    contexts = tuple(name for name, count in counts.items() if name and not count)
    return Relayed(
        taken=counts.get("", 0), contexts=contexts,
        deliveries={name: count for name, count in counts.items() if name and count},
    )  # fmt: skip


def session_name(worker: UUID) -> str:
    return f"signalbox {worker}"


@contextmanager
def _cursor() -> Iterator[psycopg.Cursor[Any]]:
    connection.ensure_connection()
    kind = VirtualCursor if clock.is_virtual() else psycopg.Cursor
    with connection.wrap_database_errors, kind(connection.connection) as cursor:
        yield cursor
    known: Any = connection
    known.health_check_done = True  # it has just answered: Django need not ask it once more before a handler


def _message(envelope: Envelope) -> tuple[Any, ...]:
    return (
        envelope.id, envelope.type, envelope.version, envelope.kind, envelope.source, envelope.tenant,
        envelope.content_type, envelope.body, json.dumps(envelope.headers), envelope.key, envelope.position,
        envelope.correlation_id, envelope.causation_id, envelope.traceparent, envelope.occurred_at,
        envelope.expires_at, json.dumps(envelope.blob) if envelope.blob else None, envelope.consumer,
    )  # fmt: skip


def _routing(envelope: Envelope) -> tuple[Any, ...]:
    return envelope.run, envelope.resolves


def _given(envelopes: Sequence[Envelope]) -> list[list[Any]]:
    columns = zip(*((*_message(one), *_routing(one), one.due_at) for one in envelopes), strict=True)
    return [list(column) for column in columns]


def _columns(rows: list[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _attempts(rows: Sequence[AttemptRow]) -> dict[str, Any]:
    """What they have in common is given once, and no errors where nothing failed: an array's items are dear."""
    errors = [row.error for row in rows] if any(row.error for row in rows) else None
    return {
        "consumer": rows[0].consumer, "outcome": rows[0].outcome, "worker": rows[0].worker,
        "ids": [row.id for row in rows],
        "sealable": b"".join(row.id.bytes for row in rows),
        "messages": [row.message_id for row in rows],
        "runs": [row.run for row in rows],
        "numbers": [row.number for row in rows],
        "started": [row.started_at for row in rows],
        "durations": [row.duration_us for row in rows],
        "error_types": errors and [error and error.type for error in errors],
        "error_messages": errors and [error and error.message for error in errors],
        "fingerprints": errors and [error and error.fingerprint for error in errors],
    }  # fmt: skip


def _deltas(deltas: Sequence[Delta]) -> dict[str, Any]:
    return {
        "delta_consumers": [delta.consumer for delta in deltas],
        "delta_types": [delta.type for delta in deltas],
        "delta_outcomes": [delta.outcome for delta in deltas],
        "counts": [delta.count for delta in deltas],
        "delta_durations": [delta.duration_us for delta in deltas],
        "criticals": [delta.critical_us for delta in deltas],
        "buckets": [json.dumps(delta.buckets) for delta in deltas],
    }


def _claimed(row: tuple[Any, ...]) -> Claimed:
    headers, blob = row[9], row[20]
    return Claimed(
        message_id=row[0], consumer=row[1], run=row[2], failures=row[3], crashes=row[4], resolves=row[5],
        type=row[6] or "", version=row[7] or 0, body=bytes(row[8] or b""),
        headers=json.loads(headers) if isinstance(headers, str) else headers or {},
        key=row[10], correlation_id=row[11] or "", causation_id=row[12], traceparent=row[13] or "",
        source=row[14] or "", tenant=row[15] or "", published_at=row[16] or row[18], created_at=row[17],
        locked_at=row[18], waited_us=waited_us(row[22], row[23]), expires_at=row[19],
        blob=json.loads(blob) if isinstance(blob, str) else blob,
        position=row[21],
    )  # fmt: skip
