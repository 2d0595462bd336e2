"""Deployments of real processes, and a browser to look at them."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from tests.processes import Deployment, Program
from tests.servers import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PASSWORD = "of-the-first-operator"


def embedded_in(home: Path) -> Deployment:
    """Return a data directory of its own, without sample traffic."""
    return Deployment(
        home, PORT=str(free_port()), SIGNALBOX_SAMPLE_TRAFFIC="0", SIGNALBOX_ADMIN_PASSWORD=PASSWORD
    )  # fmt: skip


@pytest.fixture(scope="session")
def started_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory for others to be copied from: a first start takes twice as long, as it makes the tables."""
    home = tmp_path_factory.mktemp("started-once") / "home"
    program = embedded_in(home).start("up")
    program.wait_for("Signalbox runs at")
    program.signal(signal.SIGTERM)
    assert program.wait() == 0, program.output
    return home


@pytest.fixture
def embedded(tmp_path: Path, started_once: Path) -> Iterator[Deployment]:
    """A data directory that was started before and holds no message."""
    deployment = embedded_in(shutil.copytree(started_once, tmp_path / "home"))
    yield deployment
    deployment.end()


@contextmanager
def _database(server_url: str, template: str = "template1") -> Iterator[tuple[str, str]]:
    """Yield the name and the URL of a new database, a copy of ``template``."""
    name = f"signalbox_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    before, _, query = server_url.partition("?")
    yield name, f"{before.rsplit('/', 1)[0]}/{name}?{query}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory, postgresql: str, redis_url: str) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to, for others to be copied from."""
    with _database(postgresql) as (name, url):
        home = tmp_path_factory.mktemp("migrated")
        Deployment(home, DATABASE_URL=url, REDIS_URL=redis_url, SECRET_KEY=uuid4().hex * 2).run("migrate", "-v", "0")
        yield name


@pytest.fixture
def production(tmp_path: Path, postgresql: str, redis_url: str, migrated: str) -> Iterator[Deployment]:
    """A migrated PostgreSQL database and Redis of the tests' own; the test starts the roles it needs."""
    with _database(postgresql, migrated) as (_, url):
        deployment = Deployment(
            tmp_path / "home",
            DATABASE_URL=url,
            REDIS_URL=redis_url,
            SECRET_KEY=uuid4().hex * 2,
            PORT=str(free_port()),
            SIGNALBOX_STALE_AFTER_SECONDS="2",
            SIGNALBOX_HEARTBEAT_SECONDS="0.5",
            SIGNALBOX_ADMIN_PASSWORD=PASSWORD,
        )
        yield deployment
        deployment.end()


@pytest.fixture
def up(embedded: Deployment) -> Callable[[], Program]:
    """Start everything in one process and wait until it serves."""

    def start() -> Program:
        program = embedded.start("up")
        program.wait_for("Signalbox runs at")
        return program

    return start


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium of this machine; skips where there is none."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no browser: install Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()
