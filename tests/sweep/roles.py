"""The sweep of real roles: ``manage.py relay`` and a Celery worker with forked children, one of which dies."""

from __future__ import annotations

import os
from pathlib import Path

from messaging.failpoints import MARK, VARIABLE
from tests.processes import Deployment, Program
from tests.sweep import work
from tests.sweep.databases import PostgreSQL
from tests.sweep.runner import Sweep

ROLES = {"relay": ["relay"], "worker": ["worker", "--concurrency", "2"]}


class RolesSweep(Sweep):
    """Kills whichever role first reaches the failpoint, and starts it again."""

    def kill_role_at(self, name: str) -> None:
        self._check(f"kill a role at {name}", lambda database: self._kill_role(database, name))

    def _kill_role(self, database: str, name: str) -> None:
        mark = self._directory / "mark"
        mark.unlink(missing_ok=True)
        client = self._start(work.as_client, database)  # forked before any thread runs here
        deployment = self._deployment(database, **{VARIABLE: f"{name}:1", MARK: str(mark)})
        try:
            running: dict[str, Program] = {}
            while not client.has_ended():
                for role, command in ROLES.items():
                    if role not in running or not running[role].is_running:
                        running[role] = deployment.start(*command, SIGNALBOX_ROLE=role)
        finally:
            deployment.end()
        self._judge(work.as_client.__name__, client.end())
        if mark.exists():
            self._fired(name)

    def _deployment(self, database: str, **settings: str) -> Deployment:
        assert isinstance(self._databases, PostgreSQL)
        names = ("DJANGO_SETTINGS_MODULE", "REDIS_URL", "SECRET_KEY", "LOG_LEVEL")
        return Deployment(
            Path(os.environ["SIGNALBOX_HOME"]),
            DATABASE_URL=self._databases.url_of(database),
            SIGNALBOX_STALE_AFTER_SECONDS="2",
            SIGNALBOX_HEARTBEAT_SECONDS="0.5",
            SIGNALBOX_ALLOW_FAULTS="1",
            **{name: os.environ[name] for name in names},
            **settings,
        )
