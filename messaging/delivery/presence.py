"""One heartbeat row for each live process. Rescue takes a silent one for dead."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.utils import DatabaseError, InterfaceError

from messaging.database import store
from messaging.ids import new_id
from messaging.models import Worker
from messaging.settings import options

log = logging.getLogger("messaging.presence")
heartbeat_is_on = True
"""Off in test processes: a thread with a connection of its own would outlive the test's database."""


after_beat: list[Callable[[], None]] = []
"""What else a process does as it registers and with each heartbeat: short, and fit to run in any process."""


class Presence:
    """This process's row in the workers table, renewed by a thread of its own."""

    def __init__(self, role: str) -> None:
        self.id: UUID = new_id()
        self.role = role
        self.pid = os.getpid()
        self.host = socket.gethostname()
        self.name = f"{role}-{self.host}-{self.pid}"
        self.is_idle = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Register, and keep the heartbeat going from now on."""
        for act in after_beat:
            act()  # first: one that fails leaves no worker behind that nobody is
        self.register()
        if not heartbeat_is_on or (self._thread and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._beat_until_stopped, name=f"heartbeat {self.name}", daemon=True)
        self._thread.start()

    def register(self) -> None:
        now = store().now()
        told = {
            "role": self.role, "name": self.name, "host": self.host, "pid": self.pid,
            "release": options().release, "started_at": now, "heartbeat_at": now, "is_idle": self.is_idle,
        }  # fmt: skip
        Worker.objects.bulk_create(
            [Worker(id=self.id, **told)], update_conflicts=True, unique_fields=["id"], update_fields=[*told]
        )

    def beat(self) -> None:
        """Renew the row; a process that was taken for dead and wakes up again registers anew."""
        if not store().beat(self.id, is_idle=self.is_idle):
            self.register()

    def stop(self) -> None:
        """End the heartbeat and take the row away: this process holds nothing any more."""
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=5)
        try:
            Worker.objects.filter(id=self.id).delete()
        except (DatabaseError, InterfaceError):
            log.warning("%s could not sign off; rescue will do it.", self.name)

    def _beat_until_stopped(self) -> None:
        try:
            while not self._stop.wait(options().heartbeat_seconds):
                try:
                    self.beat()
                    for act in after_beat:
                        act()
                except (DatabaseError, InterfaceError) as error:
                    log.warning("Heartbeat of %s failed: %s", self.name, error)
                    connection.close()
        finally:
            connection.close()


_lock = threading.Lock()
_mine: dict[str, Presence] = {}
_named_sessions = threading.local()


def presence(role: str = "worker") -> Presence:
    """Return this process's presence in a role, starting it on first use (and anew in a forked child)."""
    with _lock:
        mine = _mine.get(role)
        if mine is None or mine.pid != os.getpid():
            mine = Presence(role)
            mine.start()  # kept only when it began: without a heartbeat it would be taken for dead at work
            _mine[role] = mine
        return mine


def sign_off() -> None:
    """Stop every presence of this process."""
    with _lock:
        for role, mine in list(_mine.items()):
            if mine.pid == os.getpid():
                mine.stop()
            del _mine[role]


@contextmanager
def stand_in() -> Iterator[None]:
    """Be another worker for a while, without a heartbeat thread, and leave no trace in this process."""
    global _mine, heartbeat_is_on
    kept = _mine, heartbeat_is_on
    _mine, heartbeat_is_on = {}, False
    try:
        yield
    finally:
        for mine in _mine.values():
            mine.stop()
        _mine, heartbeat_is_on = kept


def name_session(worker: UUID) -> None:
    """Name this thread's database session after the worker, and each that takes its place: a handler may close it."""
    _named_sessions.worker = worker
    connection.ensure_connection()
    if getattr(_named_sessions, "connection", None) is not connection.connection:
        _name_session(connection)


def _name_session(connection: BaseDatabaseWrapper, **_: object) -> None:
    worker = getattr(_named_sessions, "worker", None)
    if worker is not None and connection.alias == DEFAULT_DB_ALIAS:
        store().name_session(worker)
        _named_sessions.connection = connection.connection


connection_created.connect(_name_session, dispatch_uid="messaging.name_session")


def pause(seconds: float) -> None:
    """Sleep: the one place, so that a simulation can replace it."""
    time.sleep(seconds)
