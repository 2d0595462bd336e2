"""Dead letters: groups by fingerprint, then the rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from messaging.queries.pages import CappedCount, Page


@dataclass(frozen=True, kw_only=True)
class FailureGroup:
    """Unresolved dead letters of one fingerprint (consumer, error type, innermost own frame)."""

    fingerprint: str
    consumer: str
    type: str
    error_type: str
    error_message: str
    """Of the newest member."""
    location: str
    reason: str
    count: int
    replaying: int
    """Members whose replay or resubmitted copy is on its way."""
    first_at: datetime
    last_at: datetime
    per_minute: tuple[int, ...]
    """Last hour, oldest first, 60 numbers."""


@dataclass(frozen=True, kw_only=True)
class DeadLetterRow:
    id: UUID
    message_id: UUID
    consumer: str
    run: int
    type: str
    version: int
    key: str | None
    correlation_id: str
    reason: str
    attempts: int
    fingerprint: str
    error_type: str
    error_message: str
    location: str
    dead_at: datetime
    state: str
    """open, replaying, resubmitting, resolved, discarded."""
    resolution: str
    resolved_by: str
    resolved_at: datetime | None
    copy_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class DeadLetterDetail(DeadLetterRow):
    traceback: str
    body: bytes
    content_type: str
    headers: dict[str, str]
    published_at: datetime


@dataclass(frozen=True, kw_only=True)
class DeadLetterFilter:
    fingerprint: str = ""
    consumer: str = ""
    type: str = ""
    state: str = ""
    """Empty: every unresolved one."""
    key: str = ""
    correlation_id: str = ""
    since: datetime | None = None
    until: datetime | None = None


def failure_groups(*, limit: int = 200) -> list[FailureGroup]:
    """Largest first."""
    raise NotImplementedError


def list_dead_letters(
    where: DeadLetterFilter, *, limit: int = 50, after: UUID | None = None, before: UUID | None = None
) -> Page[DeadLetterRow]:
    raise NotImplementedError


def count_dead_letters(where: DeadLetterFilter) -> CappedCount:
    raise NotImplementedError


def get_dead_letter(id: UUID) -> DeadLetterDetail | None:
    raise NotImplementedError
