"""The one connection that all actors share: one writer at a time, so an open transaction keeps all others out."""

from __future__ import annotations

import sqlite3
from typing import Any, cast

from django.db import connection


def may_hand_over() -> bool:
    """Say whether another actor may go on: no transaction is open."""
    return not connection.in_atomic_block


def roll_back() -> None:
    """Do what the database does when a process dies: its open transaction never was."""
    raw = cast("sqlite3.Connection | None", connection.connection)
    if raw is not None and raw.in_transaction:
        raw.execute("ROLLBACK")
    state: Any = connection
    state.in_atomic_block = state.needs_rollback = state.closed_in_transaction = False
    state.savepoint_ids, state.atomic_blocks, state.run_on_commit = [], [], []
    state.autocommit = state.commit_on_exit = True


class Template:
    """The migrated database of which every run gets a copy."""

    def __init__(self) -> None:
        self._kept = sqlite3.connect(":memory:")
        connection.connection.backup(self._kept)

    def restore(self) -> None:
        roll_back()
        self._kept.backup(connection.connection)
