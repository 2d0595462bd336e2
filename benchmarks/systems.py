"""The systems under test: how each publishes, and which processes consume."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.peers.environment import PYTHON

REFERENCE = "celery"
CONSUMERS = 2


@dataclass(frozen=True, kw_only=True)
class System:
    """One way to publish and consume. ``commands`` are the consuming processes, relays included."""

    name: str
    title: str
    settings: str
    publisher: str
    commands: tuple[tuple[str, ...], ...]
    is_bus: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    prepare: tuple[tuple[str, ...], ...] = ()
    """Commands that make its tables, run once on the template."""
    before_each: tuple[str, ...] = ()
    """A command before each run (Redis was flushed)."""
    needs_stomp: bool = False
    is_peer: bool = False
    """Runs in the peers' environment."""
    is_durable: bool = False
    """Of a peer: its message is committed with the order, so a process that dies between cannot lose it."""
    settle_seconds: float = 20.0
    """After a kill: how long to wait without progress before what is missing counts as lost."""


_PYTHON = sys.executable
_CELERY_WORKER = (
    *(_PYTHON, "-m", "celery", "-A", "benchmarks.orders.raw_celery", "worker", "-l", "WARNING"),
    *("-c", str(CONSUMERS), "--without-gossip", "--without-mingle", "--without-heartbeat"),
)
_CELERY = System(
    name=REFERENCE,
    title="Celery, tuned",
    settings="benchmarks.settings",
    publisher="benchmarks.orders.raw_celery",
    commands=(_CELERY_WORKER,),
)
_BUS = System(
    name="bus",
    title="this bus",
    settings="benchmarks.bus_settings",
    publisher="benchmarks.orders.bus",
    commands=(
        (_PYTHON, "manage.py", "relay"),
        (_PYTHON, "manage.py", "worker", "--concurrency", str(CONSUMERS)),
    ),
    prepare=((_PYTHON, "manage.py", "migrate", "-v", "0"), (_PYTHON, "-m", "benchmarks.prepare")),
    is_bus=True,
    settle_seconds=60.0,  # as peers get; rescue waits until a dead worker's heartbeat is stale
)
_PEER = str(PYTHON)
_DJANGO = (_PEER, "-m", "django")


def _peer(name: str, module: str, *commands: tuple[str, ...], settle: float = 60.0, **given: Any) -> System:
    return System(
        name=name, title=name, settings="benchmarks.peers.settings", publisher=f"benchmarks.peers.{module}",
        commands=commands, python=_PEER, is_peer=True, settle_seconds=settle,
        environment={"BENCH_PEER": name, "PATH": f"{PYTHON.parent}:{os.environ['PATH']}", **given.pop("env", {})},
        **given,
    )  # fmt: skip


_STREAM_APP = "benchmarks.peers.with_faststream:app"
_MIGRATE = ((*_DJANGO, "migrate", "-v", "0"),)
_STOMP = ("subscribe", "benchmarks.peers.with_outbox_pattern.on_order", "/exchange/amq.direct/orders.v1", "orders")
PEERS = (
    _peer(
        "procrastinate", "with_procrastinate",
        *[(*_DJANGO, "procrastinate", "worker", "--concurrency", "10")] * CONSUMERS,
        is_durable=True, prepare=_MIGRATE,
    ),
    _peer(
        "pgqueuer", "with_pgqueuer", *[(_PEER, "-m", "benchmarks.peers.with_pgqueuer")] * CONSUMERS,
        is_durable=True, prepare=((_PEER, "-m", "benchmarks.peers.install_pgqueuer"),), settle=75.0,
    ),
    _peer(
        "dramatiq", "with_dramatiq",
        (_PEER, "-m", "dramatiq", "benchmarks.peers.with_dramatiq", "-p", str(CONSUMERS), "-t", "8", "--skip-logging"),
        settle=150.0,  # it takes a process for dead after a minute, and looks now and then
    ),
    _peer(
        "faststream", "with_faststream",
        *[(_PEER, "-m", "faststream", "run", _STREAM_APP, "--log-level", "warning")] * CONSUMERS,
        before_each=(_PEER, "-m", "benchmarks.peers.with_faststream"), env={"BENCH_CONSUMER": "shop"},
    ),
    _peer(
        "django-tasks", "with_django_tasks", *[(*_DJANGO, "db_worker", "--no-startup-delay", "-v", "0")] * CONSUMERS,
        is_durable=True, prepare=_MIGRATE,
    ),
    _peer(
        "django-outbox-pattern", "with_outbox_pattern", (*_DJANGO, "publish"), *[(*_DJANGO, *_STOMP)] * CONSUMERS,
        is_durable=True, prepare=_MIGRATE, needs_stomp=True,
    ),
)  # fmt: skip
SYSTEMS = {
    system.name: system
    for system in (
        _BUS,
        _CELERY,
        replace(_BUS, name="bus-batch", title="this bus, batch consumer", environment={"BENCH_CONSUMER_KIND": "batch"}),
        *PEERS,
        replace(_CELERY, name="celery-stock", title="Celery, stock", environment={"BENCH_STOCK_CELERY": "1"}),
    )
}
