"""How the relay waits for work: LISTEN on a connection of its own, or an event in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import psycopg
from django.db import connection

from messaging.database import hint, store
from messaging.database.postgresql import HINT_CHANNEL


class Hints(Protocol):
    def wait(self, seconds: float) -> bool:
        """Wait for a hint or ``seconds``; say whether one arrived."""


class _Local:
    def wait(self, seconds: float) -> bool:
        return hint.wait(seconds)


class _Listening:
    def __init__(self, listener: psycopg.Connection) -> None:
        self._listener = listener

    def wait(self, seconds: float) -> bool:
        return any(True for _ in self._listener.notifies(timeout=seconds, stop_after=1))


@contextmanager
def open_hints() -> Iterator[Hints]:
    """Open the source of hints for the database in use."""
    if store().hint_is_local:
        yield _Local()
        return
    connection.ensure_connection()
    parameters = {k: v for k, v in connection.get_connection_params().items() if k not in _DJANGO_ONLY}
    try:
        listener = psycopg.connect(**parameters, autocommit=True, application_name="signalbox relay hints")
    except psycopg.Error as error:
        raise OSError(f"could not listen for hints: {error}") from error
    with listener:
        listener.execute(f"LISTEN {HINT_CHANNEL}")
        try:
            yield _Listening(listener)
        except psycopg.Error as error:
            raise OSError(f"lost the connection that listens for hints: {error}") from error


_DJANGO_ONLY = {"cursor_factory", "context", "prepare_threshold", "server_side_binding"}
