"""``settings.MESSAGING`` as one frozen, validated object. Unknown keys are refused (system check E001)."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from messaging.errors import ConfigurationError


class Options(BaseModel):
    """Every knob of the bus, with its default. Durations are seconds, sizes are bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = "signalbox"
    """Names the service that publishes; part of every envelope."""
    release: str = ""
    """Release of the running code, shown beside workers and failures."""
    max_body_bytes: int = Field(1_048_576, ge=1)
    inline_body_bytes: int = Field(262_144, ge=0)
    """Larger bodies lie in STORAGES["signalbox"] instead of their row, where that storage is set."""
    heartbeat_seconds: float = Field(2.0, gt=0)
    stale_after_seconds: float = Field(12.0, gt=0)
    """A worker silent for this long is taken for dead and its claims are rescued."""
    crash_limit: int = Field(3, ge=1)
    """Deaths of a process while one delivery ran alone, before that delivery is dead-lettered."""
    chunk_limit: int = Field(100, ge=1, le=400)
    """Most deliveries of one claim."""
    chunk_seconds: float = Field(0.1, gt=0)
    """Handler time that one chunk aims at; on SQLite a tenth of it, as a writer stops all others."""
    slice_seconds: float = Field(2.0, gt=0)
    """How long one wake-up keeps claiming before it gives its place to another consumer."""
    relay_batch: int = Field(500, ge=1)
    wakeups_per_consumer: int = Field(2, ge=1)
    """Most wake-ups of one consumer waiting in the broker."""
    poll_seconds: float = Field(0.5, gt=0)
    """Longest time the relay waits without looking, when no hint arrives."""
    dedup_days: int = Field(14, ge=1)
    """How long an id received from outside is remembered."""
    retention_days: int = Field(30, ge=1)
    """How long messages and their attempts are kept; unfinished work keeps them longer."""
    audit_days: int = Field(365, ge=1)
    """How long operators' actions are kept."""
    rollup_days: int = Field(90, ge=1)
    """How long per-minute counts are kept."""
    anchor_file: str = ""
    """Anchors of the audit chain are appended to this file; put it where who writes to the database cannot."""
    span_hours: float = Field(72.0, gt=0)
    """How long spans are kept for the console."""
    span_limit: int = Field(500_000, ge=1_000)
    """Most spans kept; the oldest leave first."""
    span_queue: int = Field(20_000, ge=100)
    """Most spans of a process that wait to be stored; what comes beyond is dropped and counted."""
    retry_immediate: int = Field(3, ge=0)
    retry_delays: tuple[str, ...] = ("10s", "1m", "10m")
    retry_jitter: float = Field(0.0, ge=0, le=1)
    """Part of itself by which each of these delays varies, 0 to 1."""
    allow_faults: bool = False
    """Faults may be injected into this system on purpose; never where messages matter."""


@cache
def options() -> Options:
    """Return the validated options.

    Raises:
        ConfigurationError: a key is unknown or a value out of range.
    """
    given: dict[str, Any] = getattr(settings, "MESSAGING", {})
    try:
        return Options(**given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"MESSAGING[{key!r}]: {first['msg']}.") from error
