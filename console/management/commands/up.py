from __future__ import annotations

import fcntl
import os
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, TextIO

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from console import environment as env
from console import web
from messaging.management.base import BusCommand
from messaging.scheduling.synchronising import synchronise_schedules
from messaging.subscriptions import synchronise


class Command(BusCommand):
    help = "Start web, relay, worker and scheduler in one process on SQLite."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default=env.text("HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=env.integer("PORT", 8000))

    def handle(self, *, host: str, port: int, **_: Any) -> None:
        started = time.monotonic()
        if not settings.EMBEDDED:
            raise CommandError(
                "`up` runs everything on SQLite, but DATABASE_URL is set."
                " Unset it, or start the roles: web, relay, worker, scheduler (see docs/operations.md)."
            )
        os.environ.setdefault("SIGNALBOX_ROLE", "embedded")
        os.environ.setdefault("CELERY_SKIP_CHECKS", "1")  # they are done, and Celery would do those of pages, too
        lock = hold(settings.HOME)
        listener = web.listen(host, port)
        self.migrate()
        login = self.first_login()

        from console import embedded

        def announce() -> None:
            self.stdout.write(f"\nSignalbox runs at {web.address(listener)}  ({time.monotonic() - started:.1f} s)")
            self.stdout.write(login)
            self.stdout.write("Ctrl-C stops it; nothing is lost.\n")
            self.stdout.flush()

        status = embedded.run(listener, announce=announce)
        lock.close()
        sys.exit(status)

    def migrate(self) -> None:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan:
            self.stdout.write(f"Migrating the database: {len(plan)} steps")
            self.stdout.flush()
            call_command("migrate", verbosity=0, interactive=False)
        else:
            # The whole deployment starts here, maybe with other code or settings: migrate, which would say so, is left
            # out because it takes long.
            synchronise(is_deploy=True)
            synchronise_schedules(is_deploy=True)

    def first_login(self) -> str:
        from console.roles import FIRST_OPERATOR, ensure_first_operator

        is_first_start = not get_user_model().objects.exists()
        password = ensure_first_operator()
        if password:
            return f"Log in as {FIRST_OPERATOR} with the password {password}  (shown this once; write it down)"
        if is_first_start:
            return f"Log in as {FIRST_OPERATOR} with the password in SIGNALBOX_ADMIN_PASSWORD."
        return "Log in as before. Password forgotten: .venv/bin/python manage.py changepassword NAME"


def hold(home: Path) -> TextIO:
    """Return the locked lock file of the data directory; the lock ends with the process, however it ends.

    Raises:
        CommandError: another process runs on this data directory.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = (home / "up.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        raise CommandError(
            f"Signalbox already runs on {home} (process {holder})."
            " Stop it first, or give this one a data directory of its own: SIGNALBOX_HOME=/other/path"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
