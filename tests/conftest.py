"""What every test run needs: an append-only history that may be flushed, and no silent skips."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.contenttypes.management import create_contenttypes
from django.core.management.sql import emit_post_migrate_signal
from django.db import connection, transaction
from django.db.models.signals import post_migrate
from django.test import TransactionTestCase
from hypothesis import HealthCheck, settings

from messaging.consumers import all_consumers
from messaging.database import sqlite
from tests import servers

# A busy machine is no failure: no limit on how long one example may take.
settings.register_profile("signalbox", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("signalbox")

pytest_plugins = ["messaging.testing.plugin", "tests.traced"]
_TOLD = "told"
SKIPS_FAIL = os.environ.get("SIGNALBOX_NO_SKIP") == "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-docs", action="store_true", help="write generated pages of docs/ instead of comparing")


_KEPT = {"django_migrations", "django_content_type", "auth_permission"}
_TABLES = {
    # Most partitions were never written to; to ask each for rows took longer than all else about emptying.
    "postgresql": "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    " AND pg_relation_size(oid) > 0",
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    " AND name NOT LIKE 'fresh.%'",
}
_Flushed: Any = TransactionTestCase  # its stubs leave the hook out
_fresh: dict[tuple[str, ...], list[str]] = {}
"""The consumers that were registered when copies were made of what a fresh database holds, and the tables copied."""


def _flush_history_too(case: Any) -> None:
    """Delete all rows and put back what a fresh database holds.

    Django truncates, which costs PostgreSQL a second: each partition, index and empty table anew. And it sends
    post_migrate after each test, for which every consumer is written down; to copy what that leaves is quicker.
    """
    names = tuple(each.name for each in all_consumers())
    with _unguarded() as cursor:
        for table in _with_rows(cursor):
            cursor.execute(f'DELETE FROM "{table}"')
        for table in _fresh.get(names, ()):
            cursor.execute(f'INSERT INTO "{table}" SELECT * FROM {_copy_of(table)}')
    if names not in _fresh:
        post_migrate.disconnect(create_contenttypes)
        post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
        emit_post_migrate_signal(verbosity=0, interactive=False, db=connection.alias)
        _copy(names)


@contextmanager
def _unguarded() -> Iterator[Any]:
    """Yield a cursor that neither foreign keys nor the append-only triggers stop."""
    if connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            yield cursor
    else:
        with connection.constraint_checks_disabled(), sqlite.retention(), connection.cursor() as cursor:
            yield cursor


def _with_rows(cursor: Any) -> list[str]:
    cursor.execute(_TABLES[connection.vendor])
    tables = sorted({name for (name,) in cursor.fetchall()} - _KEPT)
    if not tables:
        return []
    cursor.execute(" UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM \"{name}\")" for name in tables))
    return [name for (name,) in cursor.fetchall()]


def _copy(names: tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("CREATE SCHEMA IF NOT EXISTS fresh")
        for table in (table for copied in _fresh.values() for table in copied):
            cursor.execute(f"DROP TABLE {_copy_of(table)}")
        _fresh.clear()
        _fresh[names] = _with_rows(cursor)
        for table in _fresh[names]:
            cursor.execute(f'CREATE TABLE {_copy_of(table)} AS SELECT * FROM "{table}"')


def _copy_of(table: str) -> str:
    return f'fresh."{table}"' if connection.vendor == "postgresql" else f'"fresh.{table}"'


_Flushed._fixture_teardown = _flush_history_too


@pytest.fixture(scope="session")
def postgresql() -> str:
    """A PostgreSQL server in which the test may create databases."""
    return servers.postgresql()


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A Redis server of the tests' own."""
    return servers.redis_url()


@pytest.fixture(scope="session")
def rabbitmq() -> str:
    """A RabbitMQ server of the tests' own; skips where there is none."""
    try:
        return servers.rabbitmq()
    except servers.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(autouse=True)
def _no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test be a worker of its own, whose heartbeat thread does not outlive the test's database."""
    from messaging.delivery import presence

    monkeypatch.setattr(presence, "heartbeat_is_on", False)
    monkeypatch.setattr(presence, "_mine", {})


@pytest.fixture(autouse=True)
def _registry_is_left_alone() -> Iterator[None]:
    """A consumer that a test leaves behind is subscribed in the next one's database: in some order, that fails."""
    before = {each.name for each in all_consumers()}
    yield
    assert {each.name for each in all_consumers()} <= before, "the test forgets what it declares"


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test begin as a process does: what the code keeps in memory is of no other test."""
    from console.throttling import failed_authentications
    from messaging import chaos
    from messaging.database import hint
    from messaging.delivery import gate, loop
    from messaging.testing import driving

    failed_authentications.clear()
    chaos.forget()
    hint._event.clear()
    loop.stopping.clear()
    monkeypatch.setattr(loop, "_sizers", {})
    monkeypatch.setattr(loop, "_last_key", {})
    monkeypatch.setattr(gate, "_overridden", frozenset())
    monkeypatch.setattr(driving, "held", {})


@pytest.fixture(autouse=True)
def _chunks_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a consumer's first claim take several deliveries, as the later ones of a busy consumer do."""
    from messaging.delivery import sizing

    monkeypatch.setattr(sizing, "FIRST", 10)


@pytest.fixture
def station() -> Iterator[Any]:
    """Declare consumers for one test; see ``tests.factories.Station``."""
    from tests.factories import Station

    station = Station()
    yield station
    station.close()


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Print a line when all tests have ended: what a worker of xdist prints meanwhile, nobody reads."""
    return lambda line: record_property(_TOLD, line)


@pytest.fixture
def virtual_clock() -> Iterator[Any]:
    """Install the clock that a test sets by hand: ``virtual_clock(moment)``."""
    from messaging import clock

    yield lambda moment: clock.install(lambda: moment)
    clock.install(None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked for the other database: it runs in the other run, so it is no skip. Long ones first."""
    kind = os.environ.get("TEST_DATABASE", "sqlite")
    foreign = [item for item in items if any(kind not in mark.args for mark in item.iter_markers("only_on"))]
    if foreign:
        config.hook.pytest_deselected(items=foreign)
        items[:] = [item for item in items if item not in foreign]
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    skipped = _skip_reasons(reporter)
    if skipped and SKIPS_FAIL:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if target := os.environ.get("SIGNALBOX_TEST_REPORT"):
        counts = {name: len(reporter.stats.get(name, [])) for name in ("passed", "failed", "error", "xfailed")}
        Path(target).write_text(json.dumps({**counts, "skipped": skipped}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for report in terminalreporter.stats.get("passed", []):
        for line in (value for name, value in report.user_properties if name == _TOLD):
            terminalreporter.write_line(line)
    if SKIPS_FAIL and terminalreporter.stats.get("skipped"):
        terminalreporter.write_sep("=", "SIGNALBOX_NO_SKIP=1: a skipped test fails the run", red=True)


def _skip_reasons(reporter: Any) -> list[str]:
    """Return one "test: reason" line for each skipped test."""
    return [
        f"{report.nodeid}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
        for report in reporter.stats.get("skipped", [])
    ]
