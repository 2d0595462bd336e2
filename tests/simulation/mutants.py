"""The bus with one safeguard taken out: a simulation that does not notice proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid5

from django.db import connection, transaction

from messaging import ingest, rescue
from messaging.consumers import Consumer
from messaging.database import sqlite_sql, store
from messaging.database.statements import Relayed
from messaging.delivery import loop
from messaging.delivery.gate import Claim
from tests.simulation import mutants_of_parts
from tests.sweep import mutants as of_sweep


def without_fence() -> None:
    """Every claim of a consumer bears the same token, so that a stale owner passes for the new one."""
    real, patched = loop.claim_and_deliver, _any(loop)

    def unfenced(consumer: Consumer, turn: int = 0) -> Claim:
        patched.new_id = lambda: uuid5(UUID(int=0), consumer.name)
        return real(consumer, turn)

    patched.claim_and_deliver = unfenced


def without_recheck_at_settling() -> None:
    """Settling does not look whether the rows it was to settle were still its own."""
    target = _any(store())._target
    settle = target.settle

    def settled(*, token: UUID, rows: Any, deltas: Any) -> int:
        settle(token=token, rows=rows, deltas=deltas)
        return len(rows)

    target.settle = settled
    sqlite_sql.LOCK = _replaced(sqlite_sql.LOCK, "d.claim_token = %(token)s AND", "d.claim_token IS NOT NULL AND")


def without_inbox_key() -> None:
    """What comes from outside is not remembered by its id."""
    _any(ingest)._remember = lambda source, incoming, message_id: None


def without_rescue() -> None:
    """Nobody takes back what the dead had claimed."""
    _any(rescue)._rescue_batch = lambda: 0


def without_staleness_check() -> None:
    """Rescue takes every worker for dead."""
    _any(rescue)._stale_before = lambda: store().now().replace(year=9999)


def without_outbox_in_the_transaction() -> None:
    """The relay deletes what it took, and makes the deliveries in a transaction after it."""
    target = _any(store())._target

    def relay(limit: int) -> Relayed:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM messaging_outboxentry ORDER BY id LIMIT %s", [limit])
            taken = cursor.fetchall()
            marks = ", ".join(["%s"] * len(taken))
            cursor.execute(f"DELETE FROM messaging_outboxentry WHERE id IN ({marks})", [row[0] for row in taken])
        with transaction.atomic(), connection.cursor() as cursor:
            for row in taken:
                cursor.execute(f"INSERT INTO messaging_outboxentry VALUES ({', '.join(['%s'] * len(row))})", list(row))
            relayed: Relayed = real(limit)
        return relayed

    real = target.relay
    target.relay = relay


def without_order() -> None:
    """Deliveries with a position are claimed and run as any other."""
    sqlite_sql.CLAIM = _replaced(sqlite_sql.CLAIM, "AND position IS NULL AND", "AND")
    sqlite_sql.LOCK_IN_ORDER = sqlite_sql.LOCK


def without_block() -> None:
    """A dead letter holds nothing that comes behind it."""
    blocks = sqlite_sql._BLOCKS
    for name in ("HEADS", "FOLLOWERS", "MAY_RUN", "LOCK_IN_ORDER"):
        text = getattr(sqlite_sql, name)
        setattr(sqlite_sql, name, _replaced(text, f"NOT EXISTS ({blocks})", "true"))


def without_outbox_delete() -> None:
    """The relay makes deliveries and leaves the outbox as it was, once for each row."""
    target = _any(store())._target
    real = target.relay

    def relay(limit: int) -> Relayed:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM messaging_outboxentry ORDER BY id LIMIT 1")
            row = cursor.fetchone()
        relayed: Relayed = real(limit)
        if row is not None and row[0] % 7 == 0:
            with connection.cursor() as cursor:
                cursor.execute(
                    f"INSERT INTO messaging_outboxentry VALUES ({', '.join(['%s'] * len(row))})",
                    [row[0] + 1000, *row[1:]],
                )
        return relayed

    target.relay = relay


def _any(module: Any) -> Any:
    return module


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the statement changed: {old!r} is not in it any more"
    return text.replace(old, new)


MUTANTS: dict[str, Callable[[], None]] = {
    "fence": without_fence,
    "fence in the statements": without_recheck_at_settling,
    "inbox key": without_inbox_key,
    "rescue": without_rescue,
    "staleness check": without_staleness_check,
    "relay's transaction": without_outbox_in_the_transaction,
    "order": without_order,
    "block": without_block,
    "outbox delete": without_outbox_delete,
    "follow-ups": of_sweep.without_follow_ups,
    "counts": of_sweep.without_counts,
    "audit": of_sweep.without_audit,
    "request id": of_sweep.without_request_id,
    **mutants_of_parts.MUTANTS,
}
