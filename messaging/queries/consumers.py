"""Consumers: state, backlog, age of the oldest unhandled delivery, rates from the roll-ups."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class ConsumerRow:
    name: str
    status: str
    """running, paused, draining (paused with deliveries in flight), retired."""
    guarantee: str
    queue: str
    description: str
    handler: str
    policy: dict[str, object]
    subscriptions: tuple[str, ...]
    backlog: int
    waiting: int
    """Of the backlog: failed before, due later."""
    running: int
    oldest_at: datetime | None
    """When the oldest unhandled delivery's message was relayed."""
    dead_letters: int
    handled_per_second: float
    """Over the last five minutes."""
    failing_share: float | None
    """Failed attempts over all attempts of the last 15 minutes, 0 to 1; None without attempts."""
    critical_p50_ms: float | None
    critical_p95_ms: float | None
    per_minute: tuple[int, ...]
    """Handled per minute over the last hour, oldest first."""
    paused_at: datetime | None
    paused_by: str
    pause_reason: str
    paused_until: datetime | None


def list_consumers() -> list[ConsumerRow]:
    """Worst first: by dead letters' and failures' rate, then age of the oldest unhandled delivery."""
    raise NotImplementedError


def get_consumer(name: str) -> ConsumerRow | None:
    raise NotImplementedError
