"""What differs between PostgreSQL and SQLite, one module each behind the same functions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from django.db import connection

from messaging import failpoints, filters, payloads
from messaging.database.statements import Store
from messaging.envelope import Envelope

FAILPOINTS = frozenset({
    "publish", "schedule", "move_due", "take_back", "note_firing", "direct", "relay", "claim", "claim_in_order",
    "lock", "settle",
    "release", "claimable",
})  # fmt: skip


def store() -> Store:
    """Return the statements of the bus for the database in use."""
    return _store(connection.vendor)


@cache
def _store(vendor: str) -> Store:
    if vendor == "postgresql":
        from messaging.database.postgresql import PostgresStore

        return failpoints.watch(PostgresStore(), FAILPOINTS)
    if vendor == "sqlite":
        from messaging.database.sqlite import SqliteStore

        return failpoints.watch(SqliteStore(), FAILPOINTS)
    from messaging.errors import ConfigurationError

    raise ConfigurationError(f"The bus runs on PostgreSQL and SQLite, not on {vendor}.")


def put(envelopes: Sequence[Envelope]) -> None:
    """Store messages: those with a due time wait for it, the others go to the outbox. Needs a transaction.

    A body that is too large for a row goes to the storage first.
    """
    if large := {envelope.type for envelope in envelopes if payloads.is_large(envelope.body)}:
        asking = _filters_of(large)
        envelopes = [_light(each, asking) if payloads.is_large(each.body) else each for each in envelopes]
    envelopes = [_answered(envelope) if envelope.answers else envelope for envelope in envelopes]
    if now := [envelope for envelope in envelopes if envelope.due_at is None]:
        store().publish(now)
    if later := [envelope for envelope in envelopes if envelope.due_at is not None]:
        store().schedule(later)


def _filters_of(types: Collection[str]) -> list[tuple[str, dict[str, Any]]]:
    from messaging.models import Subscription  # not before Django's apps are loaded

    rows = Subscription.objects.filter(type__in=types, filter__isnull=False).values_list("type", "filter")
    return [(type_, asked) for type_, asked in rows if asked is not None]


def _light(envelope: Envelope, asking: Sequence[tuple[str, dict[str, Any]]]) -> Envelope:
    """Put the body into the storage, and what filters say of it into the row."""
    blob = payloads.set_aside(envelope.id, envelope.body)
    failpoints.reach("body.stored")
    mine = [asked for type_, asked in asking if type_ == envelope.type]
    verdicts = filters.verdicts(mine, envelope) if mine else {}
    return replace(envelope, body=b"", blob={**blob, "verdicts": verdicts} if verdicts else blob)


def _answered(reply: Envelope) -> Envelope:
    """Take the asker's timeout back; without it the reply is late, or the timeout was taken back by an earlier one."""
    from messaging.models import CancelledMessage  # not before Django's apps are loaded

    assert reply.answers is not None
    if store().take_back(reply.answers, by=reply.source, reason="answered"):
        return reply
    is_repeated = CancelledMessage.objects.filter(message_id=reply.answers).exists()
    return replace(reply, headers={**reply.headers, "reply-status": "repeated" if is_repeated else "late"})


def prepare_connections() -> None:
    """Register what every new connection needs (SQLite's clock function)."""
    from django.db.backends.signals import connection_created

    from messaging.database.connections import prepare

    connection_created.connect(prepare, dispatch_uid="messaging.prepare")
