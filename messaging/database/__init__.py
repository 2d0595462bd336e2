"""What differs between PostgreSQL and SQLite, one module each behind the same functions."""

from __future__ import annotations

from functools import cache

from django.db import connection

from messaging import failpoints
from messaging.database.statements import Store

FAILPOINTS = frozenset({"publish", "direct", "relay", "claim", "lock", "settle", "release", "claimable"})


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


def prepare_connections() -> None:
    """Register what every new connection needs (SQLite's clock function)."""
    from django.db.backends.signals import connection_created

    from messaging.database.connections import prepare

    connection_created.connect(prepare, dispatch_uid="messaging.prepare")
