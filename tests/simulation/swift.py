"""Django without what it does anew for each statement, though here it never changes: one thread, one connection.

Nothing of this changes what a seed plays: the statements, and their order, stay as they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from django.db import connections
from django.db.backends.sqlite3.base import SQLiteCursorWrapper
from django.db.backends.utils import CursorWrapper

from tests.simulation.stage import world

STATEMENTS = 2_000
"""More than there are: of all that the bus and the oracles say."""


def put_in_place() -> None:
    """Replace the way to the connection, and from it to the database."""
    only: Any = connections["default"]
    only.ensure_connection()
    handler: Any = connections
    handler._connections = SimpleNamespace(default=only)
    only.execute_wrappers.clear()
    only.make_cursor = lambda cursor: _Wrapped(cursor, only)
    only.cursor = lambda: _Wrapped(only.connection.cursor(factory=_Cursor), only)
    only.validate_thread_sharing = only.close_if_health_check_failed = lambda: None
    for name in ("commit", "rollback", "savepoint", "savepoint_commit", "savepoint_rollback"):
        setattr(only, name, getattr(type(only), name).__wrapped__.__get__(only))


class _Cursor(SQLiteCursorWrapper):
    def convert_query(self, query: str, *, param_names: Sequence[str] | None = None) -> str:
        return _converted(query, None if param_names is None else tuple(param_names))


@lru_cache(STATEMENTS)
def _converted(query: str, names: tuple[str, ...] | None) -> str:
    return SQLiteCursorWrapper.convert_query(None, query, param_names=names)


class _Wrapped(CursorWrapper):
    """Every statement outside a transaction is a point of the world; inside, those of the failpoints are enough."""

    def execute(self, sql: Any, params: Any = None) -> Any:
        return self._carry_out(self.cursor.execute, sql, params)

    def executemany(self, sql: Any, param_list: Any) -> Any:
        return self._carry_out(self.cursor.executemany, sql, param_list)

    def _carry_out(self, execute: Any, sql: str, params: Any) -> Any:
        if not self.db.in_atomic_block:
            world().reach(sql[:30].replace("\n", " ").strip())
        self.db.validate_no_broken_transaction()
        try:
            return execute(sql) if params is None else execute(sql, params)
        except sqlite3.Error:
            with self.db.wrap_database_errors:
                raise
