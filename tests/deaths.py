"""Real deaths inside a test: a forked process that ends itself with SIGKILL at a failpoint, or in a handler."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, connections

from messaging import database, failpoints
from messaging.models import Worker
from messaging.rescue import rescue


def dies(act: Callable[[], Any], *, at: str = "") -> bool:
    """Run ``act`` in a process of its own that dies at failpoint ``at``, or by its own hand; say whether it died."""
    connections.close_all()  # the child must not share the parent's socket
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(60)
            if at:
                failpoints._armed = failpoints._Armed({(at, 1): signal.SIGKILL})
                database._store.cache_clear()
            act()
            status = 0
        finally:
            os._exit(status)  # the parent's objects are not ours to take down
    _, ended = os.waitpid(child, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0, "the child failed instead of dying"
    return os.WIFSIGNALED(ended)


def bury() -> int:
    """Take every worker for dead, as their silence would in time; return how many deliveries came back."""
    Worker.objects.all().delete()
    return rescue()


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def failing_writes(table: str) -> Iterator[None]:
    """Let every INSERT into a table fail in the database itself, as on a full disk."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "CREATE FUNCTION refuse_write() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$"
            )
            cursor.execute(
                f"CREATE TRIGGER refuse_write BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_write()"
            )
        else:
            # A function that does not exist: an operational error, as SQLite has for a full disk; RAISE is another.
            cursor.execute(f"CREATE TRIGGER refuse_write BEFORE INSERT ON {table} BEGIN SELECT disk_is_full(); END")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP TRIGGER refuse_write ON {table}")
                cursor.execute("DROP FUNCTION refuse_write()")
            else:
                cursor.execute("DROP TRIGGER refuse_write")
