"""A fresh copy of one prepared database for every run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

import psycopg


class Databases(Protocol):
    template: str
    is_prepared: bool
    """Whether the template was made before."""

    def create(self, name: str) -> str:
        """Make a copy and return its name as Django's settings spell it."""

    def drop(self, name: str) -> None: ...


class PostgreSQL:
    """Copies by CREATE DATABASE ... TEMPLATE on the tests' own server."""

    def __init__(self, url: str, template: str = "") -> None:
        """Take ``template`` as it is if it exists; without a name, make one anew."""
        self._url, self.template = url, template or "sweep_template"
        if not template:
            self.drop(self.template)
        self.is_prepared = self._exists(self.template)
        if not self.is_prepared:
            self._execute(f"CREATE DATABASE {self.template}")

    def _exists(self, name: str) -> bool:
        with psycopg.connect(self._url) as server:
            return server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None

    def create(self, name: str) -> str:
        self._execute(f"CREATE DATABASE {name} TEMPLATE {self.template} STRATEGY file_copy")
        return name

    def drop(self, name: str) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def url_of(self, name: str) -> str:
        before, _, query = self._url.partition("?")
        return f"{before.rsplit('/', 1)[0]}/{name}?{query}"

    def _execute(self, statement: str) -> None:
        # A connection for each: one kept open would be shared with every process forked meanwhile.
        with psycopg.connect(self._url, autocommit=True) as server:
            server.execute(statement.encode())


class SQLite:
    """Copies the file."""

    is_prepared = False

    def __init__(self, directory: Path) -> None:
        self._directory, self.template = directory, str(directory / "template.sqlite3")

    def create(self, name: str) -> str:
        path = self._directory / f"{name}.sqlite3"
        for end in ("", "-wal"):
            if Path(self.template + end).exists():
                shutil.copy(self.template + end, str(path) + end)
        return str(path)

    def drop(self, name: str) -> None:
        for path in Path(name).parent.glob(Path(name).name + "*"):
            path.unlink()
