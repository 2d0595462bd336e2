"""Messages as operators see them: lists, one message with all that happened to it, its flow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from messaging.queries.pages import CappedCount, Page

Status = Literal["pending", "running", "retrying", "handled", "dead", "discarded", "paused", "scheduled"]


@dataclass(frozen=True, kw_only=True)
class MessageFilter:
    """What to list; every given field narrows. Times are aware datetimes."""

    type: str = ""
    status: Status | None = None
    correlation_id: str = ""
    key: str = ""
    consumer: str = ""
    source: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class DeliveryDot:
    consumer: str
    status: Status


@dataclass(frozen=True, kw_only=True)
class MessageRow:
    """One line of a list. ``status`` is the worst of its deliveries: dead, retrying, running, pending, handled."""

    id: UUID
    type: str
    version: int
    key: str | None
    source: str
    correlation_id: str
    published_at: datetime
    status: Status
    deliveries: tuple[DeliveryDot, ...]


@dataclass(frozen=True, kw_only=True)
class AttemptView:
    id: UUID
    run: int
    number: int
    outcome: str
    started_at: datetime
    duration_us: int
    worker: str
    next_at: datetime | None
    error_type: str
    error_message: str
    location: str
    traceback: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class DeliveryView:
    """One consumer's side of a message, all runs: current state and every attempt, oldest first."""

    consumer: str
    status: Status
    run: int
    failures: int
    available_at: datetime | None
    worker: str
    dead_letter_id: UUID | None
    """The unresolved dead letter, if there is one."""
    attempts: tuple[AttemptView, ...]


@dataclass(frozen=True, kw_only=True)
class RelatedMessage:
    """A message of the same flow. ``depth`` is its level in the tree of causes, the root is 0."""

    id: UUID
    type: str
    version: int
    source: str
    published_at: datetime
    status: Status
    depth: int
    is_this: bool


@dataclass(frozen=True, kw_only=True)
class MessageDetail:
    id: UUID
    type: str
    version: int
    kind: str
    source: str
    tenant: str
    content_type: str
    headers: dict[str, Any]
    key: str | None
    correlation_id: str
    causation_id: str | None
    trace_id: str
    traceparent: str
    occurred_at: datetime
    published_at: datetime
    status: Status
    body: bytes
    """As stored; the caller masks and decodes."""
    deliveries: tuple[DeliveryView, ...]
    related: tuple[RelatedMessage, ...]
    """In tree order, this message included; at most 200, see ``related_is_capped``."""
    related_is_capped: bool


def list_messages(
    where: MessageFilter, *, limit: int = 50, after: UUID | None = None, before: UUID | None = None
) -> Page[MessageRow]:
    """Newest first. ``after`` continues to older rows, ``before`` to newer ones."""
    raise NotImplementedError


def count_messages(where: MessageFilter) -> CappedCount:
    raise NotImplementedError


def count_newer(where: MessageFilter, *, than: UUID) -> CappedCount:
    """How many messages arrived after ``than``: the "+37 new" pill."""
    raise NotImplementedError


def histogram(where: MessageFilter, *, since: datetime, until: datetime, bins: int) -> list[tuple[int, int]]:
    """Per bin of equal width: messages with an unresolved dead letter, other messages (published in the bin)."""
    raise NotImplementedError


def get_message(id: UUID) -> MessageDetail | None:
    raise NotImplementedError


def find_message(text: str) -> UUID | None:
    """Resolve what an operator pasted: a message id, an external id, or the correlation id of exactly one flow (its root)."""
    raise NotImplementedError


def known_types() -> list[str]:
    """Contract names seen or registered, sorted: suggestions for the search field."""
    raise NotImplementedError
