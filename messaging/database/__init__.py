"""What differs between PostgreSQL and SQLite, one module each behind the same functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from django.db import connection

from messaging import failpoints
from messaging.database.statements import Store
from messaging.envelope import Envelope

FAILPOINTS = frozenset({
    "publish", "schedule", "move_due", "take_back", "direct", "relay", "claim", "lock", "settle", "release",
    "claimable",
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
    """Store messages: those with a due time wait for it, the others go to the outbox. Needs a transaction."""
    if now := [envelope for envelope in envelopes if envelope.due_at is None]:
        store().publish(now)
    if later := [envelope for envelope in envelopes if envelope.due_at is not None]:
        store().schedule(later)


def prepare_connections() -> None:
    """Register what every new connection needs (SQLite's clock function)."""
    from django.db.backends.signals import connection_created

    from messaging.database.connections import prepare

    connection_created.connect(prepare, dispatch_uid="messaging.prepare")
