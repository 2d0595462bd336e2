"""The systems under test: how each publishes, and which processes consume."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace

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
    settle_seconds: float = 8.0
    """After the kills: how long to wait without progress before what is missing counts as lost."""


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
SYSTEMS = {
    system.name: system
    for system in (
        System(
            name="bus",
            title="this bus",
            settings="benchmarks.bus_settings",
            publisher="benchmarks.orders.bus",
            commands=(
                (_PYTHON, "manage.py", "relay"),
                (_PYTHON, "manage.py", "worker", "--concurrency", str(CONSUMERS)),
            ),
            is_bus=True,
            settle_seconds=40.0,  # rescue waits until a dead worker's heartbeat is stale
        ),
        _CELERY,
        replace(_CELERY, name="celery-stock", title="Celery, stock", environment={"BENCH_STOCK_CELERY": "1"}),
    )
}
