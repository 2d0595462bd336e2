"""What differs between PostgreSQL and SQLite, one module each behind the same functions."""

from __future__ import annotations


def prepare_connections() -> None:
    """Register what every new connection needs (SQLite's clock function)."""
    from django.db.backends.signals import connection_created

    from messaging.database import sqlite

    connection_created.connect(sqlite.prepare, dispatch_uid="messaging.sqlite")
