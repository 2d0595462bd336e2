"""The envelope: what travels with every body."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One message ready to be stored. ``position`` orders messages of one key; None without ordering."""

    id: UUID
    type: str
    version: int
    kind: str
    source: str
    tenant: str
    body: bytes
    correlation_id: str
    causation_id: str | None
    traceparent: str
    occurred_at: datetime
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    key: str | None = None
    position: int | None = None
    expires_at: datetime | None = None
    blob: dict[str, Any] | None = None
    """Where the body is, when ``body`` is empty because it is too large for the row."""
    # Where the outbox sends it: all subscribers, or one consumer's run (a replay, an edited copy).
    consumer: str | None = None
    run: int = 1
    resolves: UUID | None = None
    answers: UUID | None = None
    """Of a reply: the scheduled message that would tell the asker that none came."""
    due_at: datetime | None = None
    """When the relay may have it; None for at once."""
