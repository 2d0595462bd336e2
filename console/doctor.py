"""Examine a deployment and say in plain words what is wrong with it and what to do.

Each check returns findings. A check that cannot run because something below it is broken is not run at all,
so that the first problem shown is the cause.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import django
import redis
from django.conf import settings
from django.contrib.staticfiles import finders
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

Level = Literal["ok", "warning", "problem"]

SKEW_SECONDS = 2.0
LAG_SECONDS = 30.0
FREE_BYTES_NEEDED, FREE_BYTES_WISHED = 200 * 2**20, 2**30
DAYS_AHEAD = 2


@dataclass(frozen=True)
class Finding:
    """What was examined, how it is, and for anything but "ok" what to do."""

    area: str
    level: Level
    text: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


Check = Callable[[], Iterator[Finding]]


def examine() -> list[Finding]:
    """Run every check that can run, causes before consequences."""
    findings = [finding for check in (python, configuration, disk, static_files) for finding in check()]
    findings += database()
    if _is_sound(findings, "database"):
        findings += migrations()
    if _is_sound(findings, "database", "migrations"):
        findings += [
            finding for check in (partitions, clock_skew, consumers, limits, backlog, processes) for finding in check()
        ]
    return [*findings, *broker(), *live_updates()]


def _is_sound(findings: list[Finding], *areas: str) -> bool:
    return not any(finding.level == "problem" and finding.area in areas for finding in findings)


def python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"Python {sys.version.split()[0]}, Django {django.get_version()}.")


def configuration() -> Iterator[Finding]:
    """Look for settings that are unsafe or cannot work; embedded, only the defaults for one machine apply."""
    found = list(_configuration_problems())
    yield from found
    if not found:
        mode = "embedded, one process on SQLite" if settings.EMBEDDED else "one process for each role"
        yield Finding("settings", "ok", f"Nothing unsafe ({mode}).")


def _configuration_problems() -> Iterator[Finding]:
    if settings.DEBUG:
        level: Level = "warning" if settings.EMBEDDED else "problem"
        yield Finding("settings", level, "DEBUG is on: error pages show code and settings to anyone.", "Unset DEBUG.")
    if len(settings.SECRET_KEY) < 32 or len(set(settings.SECRET_KEY)) < 5:
        yield Finding(
            "settings",
            "problem",
            "SECRET_KEY is short enough to be guessed: sessions could be forged.",
            "Set it to a long random value: python -c 'import secrets; print(secrets.token_urlsafe(50))'",
        )
    if "*" in settings.ALLOWED_HOSTS:
        yield Finding(
            *("settings", "problem", "ALLOWED_HOSTS accepts every host name."),
            "Name the hosts that people type into their browser.",
        )
    if settings.EMBEDDED:
        return
    if not os.environ.get("ALLOWED_HOSTS"):
        yield Finding(
            *("settings", "warning", "ALLOWED_HOSTS is not set: the console answers to this machine's names only."),
            "Set it to the console's host name, for example ALLOWED_HOSTS=signalbox.example.org",
        )
    if not settings.BEHIND_TLS:
        yield Finding(
            *("settings", "warning", "Cookies may travel unencrypted."),
            "Put a TLS proxy in front, let it set X-Forwarded-Proto, and set SIGNALBOX_TLS=1.",
        )
    if settings.CELERY_BROKER_URL.startswith("memory"):
        yield Finding(
            *("settings", "problem", "No broker is named, so wake-ups never leave the process that sends them."),
            "Set REDIS_URL, or CELERY_BROKER_URL for RabbitMQ.",
        )


def disk() -> Iterator[Finding]:
    path = next(path for path in (settings.HOME, *settings.HOME.parents) if path.exists())
    free = shutil.disk_usage(path).free
    text = f"{free / 2**30:.1f} GiB free at {settings.HOME}."
    if free >= FREE_BYTES_WISHED:
        yield Finding("disk", "ok", text)
    else:
        level: Level = "warning" if free >= FREE_BYTES_NEEDED else "problem"
        yield Finding("disk", level, text, "Free some space, or move SIGNALBOX_HOME to a larger disk.")


def static_files() -> Iterator[Finding]:
    """Check what browsers load: found beside the code when embedded, collected otherwise."""
    stylesheet = "css/signalbox.css"
    root = settings.STATIC_ROOT
    if not settings.EMBEDDED and not (root and (Path(root) / stylesheet).exists()):
        yield Finding(
            *("static files", "problem", f"Nothing is collected in {root}: pages have no styles."),
            "Run: manage.py collectstatic --noinput",
        )
    elif settings.EMBEDDED and not finders.find(stylesheet):
        yield Finding("static files", "problem", "The stylesheet is missing.", "Restore static/ from the repository.")
    elif settings.EMBEDDED and not any((settings.BASE_DIR / "static" / "vendor").glob("*")):
        yield Finding(
            *("static files", "warning", "static/vendor is empty: charts, editor or smooth updates are missing."),
            "Run: make assets",
        )
    else:
        yield Finding("static files", "ok", "Present.")


def database() -> Iterator[Finding]:
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        where = settings.DATABASES["default"]["NAME"] if settings.EMBEDDED else "DATABASE_URL"
        yield Finding(
            *("database", "problem", f"Cannot connect: {str(error).strip()}"),
            f"Check that the server runs and that {where} is right.",
        )
    else:
        yield Finding("database", "ok", f"{connection.display_name} answers.")


def migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    if missing:
        remedy = "Run: manage.py migrate" + (" (`make up` does it as well)" if settings.EMBEDDED else "")
        yield Finding("migrations", "problem", f"{missing} migrations are not applied.", remedy)
    else:
        yield Finding("migrations", "ok", "All applied.")


def partitions() -> Iterator[Finding]:
    if connection.vendor != "postgresql":
        return
    day = datetime.now(UTC) + timedelta(days=DAYS_AHEAD)
    tables = {table.name for table in connection.introspection.get_table_list(connection.cursor())}
    if f"messaging_message_{day:%Y%m%d}" in tables:
        yield Finding("partitions", "ok", f"There for {DAYS_AHEAD} days ahead and more.")
    else:
        yield Finding(
            *("partitions", "warning", f"None for {day:%Y-%m-%d}: history will gather in the default partition."),
            "Start the scheduler and a worker, which create them: manage.py scheduler, manage.py worker",
        )


def clock_skew() -> Iterator[Finding]:
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        theirs = float(cursor.fetchone()[0])
        skew = theirs - (before + time.time()) / 2
    text = f"The database's clock is {abs(skew):.2f} s {'ahead of' if skew > 0 else 'behind'} this host's."
    if abs(skew) <= SKEW_SECONDS:
        yield Finding("clocks", "ok", text)
    else:
        yield Finding("clocks", "problem", text, "Synchronise both with NTP: times and ids are wrong by that.")


def consumers() -> Iterator[Finding]:
    """Compare the consumers of this release with the rows the relays go by."""
    from messaging.consumers import all_consumers
    from messaging.queries.consumers import list_consumers

    declared = {consumer.name for consumer in all_consumers()}
    rows = {row.name: row for row in list_consumers()}
    if missing := sorted(declared - rows.keys()):
        yield Finding(
            *("consumers", "problem", f"Not registered in the database: {', '.join(missing)}. They receive nothing."),
            "Start a relay of this release, or run: manage.py migrate",
        )
    unknown = [name for name, row in rows.items() if name not in declared and row.status != "retired" and row.backlog]
    if unknown:
        yield Finding(
            *(
                "consumers",
                "warning",
                f"Deliveries wait for consumers unknown here: {', '.join(sorted(unknown))}.",
            ),
            "Run a worker of the service that owns them, or deploy the code that was left out.",
        )
    if paused := sorted(name for name, row in rows.items() if row.paused_at):
        yield Finding(
            *("consumers", "warning", f"Paused by an operator: {', '.join(paused)}."),
            "Resume them on the consumers' page when their cause is mended.",
        )
    if not missing and not unknown and not paused:
        yield Finding("consumers", "ok", f"{len(declared)} registered, none paused.")


def limits() -> Iterator[Finding]:
    """Look for what stands still or is refused on purpose: open breakers, consumers over their backlog limit."""
    from messaging import pressure
    from messaging.queries.limits import open_breakers

    opened = open_breakers()
    for row in opened:
        who = f" by {row.opened_by}" if row.opened_by else ""
        held = f" It holds {', '.join(row.consumers)}." if row.consumers else ""
        yield Finding(
            *(
                "breakers",
                "warning",
                f"That of {row.name} was opened{who}: {row.open_reason or 'no reason given'}.{held}",
            ),
            "It closes by itself once a probe succeeds."
            if row.open_until
            else "It stays open until somebody resets it.",
        )
    behind = pressure.behind()
    if behind:
        yield Finding(
            *("backlog", "warning", f"Over their limit, so that ingresses refuse: {', '.join(sorted(behind))}."),
            "Start another worker, raise backlog_limit, or look why they are slow.",
        )
    if not opened and not behind:
        yield Finding("breakers", "ok", "All closed, and no consumer is over its backlog limit.")


def backlog() -> Iterator[Finding]:
    from messaging.queries.overview import vitals

    now = vitals()
    text = f"{now.outbox_rows} rows in the outbox, the oldest {now.outbox_lag_seconds:.0f} s old."
    if now.outbox_lag_seconds > LAG_SECONDS:
        yield Finding("outbox", "problem", text, "Published messages are not relayed. Start (another) manage.py relay.")
    else:
        yield Finding("outbox", "ok", text)


def processes() -> Iterator[Finding]:
    """Look for a heartbeat of each role."""
    from messaging.queries.overview import workers

    alive = {row.role for row in workers() if row.is_alive}
    silent = [row.name for row in workers() if not row.is_alive]
    if settings.EMBEDDED and not alive:
        yield Finding("processes", "warning", "Signalbox does not run on this data directory.", "Run: make up")
        return
    for role, effect in {
        "relay": "published messages go nowhere",
        "worker": "deliveries wait",
        "scheduler": "nothing is rescued, counted up or pruned",
    }.items():
        if role in alive:
            yield Finding("processes", "ok", f"A {role} is alive.")
        else:
            yield Finding("processes", "problem", f"No {role} is alive: {effect}.", f"Start one: manage.py {role}")
    if silent:
        yield Finding(
            *("processes", "warning", f"Silent for too long: {', '.join(silent)}."),
            "They ended without saying so, or hang. Their work is rescued; look at their logs.",
        )


def heartbeat(role: str) -> Iterator[Finding]:
    """Look for one role on this host: what a container's health check asks."""
    from messaging.queries.overview import workers

    host = socket.gethostname()
    if any(row.is_alive and row.role == role and row.host == host for row in workers()):
        yield Finding("processes", "ok", f"A {role} is alive on {host}.")
    else:
        yield Finding("processes", "problem", f"No {role} is alive on {host}.", "Look at its log; restart it.")


def broker() -> Iterator[Finding]:
    from console.celery import app

    if app.conf.broker_url.startswith("memory"):
        return
    try:
        with app.connection_for_write() as link:
            link.ensure_connection(max_retries=1, timeout=5)
    except Exception as error:  # noqa: BLE001  each transport has errors of its own
        yield Finding(
            *("broker", "problem", f"Cannot connect: {error}"),
            "Check CELERY_BROKER_URL (or REDIS_URL) and that the broker runs. No message is lost, they wait as rows.",
        )
    else:
        yield Finding("broker", "ok", f"{link.transport.driver_type} answers.")


def live_updates() -> Iterator[Finding]:
    if settings.EMBEDDED:
        return
    if not settings.REDIS_URL:
        yield Finding(
            *("live updates", "problem", "REDIS_URL is not set: browsers do not hear from workers."),
            "Set REDIS_URL, for example redis://redis:6379/0",
        )
        return
    try:
        redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=3, socket_timeout=3).ping()
    except (redis.RedisError, ValueError) as error:
        yield Finding("live updates", "problem", f"Redis does not answer: {error}", "Check REDIS_URL and the server.")
    else:
        yield Finding("live updates", "ok", "Redis answers.")
