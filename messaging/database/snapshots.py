"""One moment of the database, for reads of several statements that must agree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def snapshot() -> Iterator[None]:
    """See one moment: else a message relayed between two statements would seem lost."""
    if connection.in_atomic_block:  # the caller's transaction decides
        yield
    elif connection.vendor == "sqlite":
        # Not atomic(): that begins IMMEDIATE here and would stop every writer.
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")
    else:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("SET LOCAL work_mem = '64MB'")
            yield
