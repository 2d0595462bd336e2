"""One message with all that happened to it: every consumer, every attempt, its flow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

from django.db.models import Case, F, When

from messaging import clock, payloads
from messaging.models import Attempt, DeadLetter, Delivery, Message
from messaging.queries.lanes import WaitsFor, waits_for
from messaging.queries.statuses import (
    UNRESOLVED,
    Hold,
    Standing,
    Status,
    standings,
)

RELATED_CAP = 200


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
    status: Status | Literal["filtered"]
    run: int
    failures: int
    available_at: datetime | None
    worker: str
    dead_letter_id: UUID | None
    """The unresolved dead letter, if there is one."""
    attempts: tuple[AttemptView, ...]
    waits_for: WaitsFor | None = None
    """Of an ordered consumer: the earlier message with the same key that is not finished."""


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
    hold: Hold | None
    """When it is due and whether it was cancelled, for one that was published with a delay and has not fired."""
    row_body: bytes = field(repr=False)
    blob: dict[str, Any] | None
    """Where a large body lies: name, sha256, size in bytes."""
    expires_at: datetime | None
    deliveries: tuple[DeliveryView, ...]
    related: tuple[RelatedMessage, ...]
    """In tree order, this message included; at most 200, see ``related_is_capped``."""
    related_is_capped: bool

    @cached_property
    def body(self) -> bytes:
        """The body as published, read when it is asked for; the caller masks and decodes.

        Raises:
            BodyUnavailable: a large one is missing, or not what was published.
        """
        return payloads.content(self.row_body, self.blob)


def get_message(id: UUID) -> MessageDetail | None:
    """Return one message with its deliveries, attempts and flow, or None. Three queries, whatever its history."""
    found, is_capped = _flow(id)
    message = next((record for record in found if record.id == id), None)
    if message is None:
        return None
    now, flow = clock.now(), found
    hot, paused, subscribers = standings((record.id for record in flow), now=now, types=[message.type])
    statuses = {key: standing.status(paused=paused, now=now) for key, standing in hot.items()}
    return MessageDetail(
        id=message.id,
        type=message.type,
        version=message.version,
        kind=message.kind,
        source=message.source,
        tenant=message.tenant,
        content_type=message.content_type,
        headers=message.headers,
        key=message.key,
        correlation_id=message.correlation_id,
        causation_id=message.causation_id,
        trace_id=_trace_id(message.traceparent),
        traceparent=message.traceparent,
        occurred_at=message.occurred_at,
        published_at=message.published_at,
        status=statuses[message.id],
        hold=hot[message.id].hold,
        row_body=bytes(message.body),
        blob=message.blob,
        expires_at=message.expires_at,
        deliveries=_deliveries(message, hot[message.id], subscribers.get(message.type, ()), paused=paused, now=now),
        related=_tree(flow, statuses, this=message.id),
        related_is_capped=is_capped,
    )


def _trace_id(traceparent: str) -> str:
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""


def _deliveries(
    message: Message, standing: Standing, subscribers: Iterable[str], *, paused: frozenset[str], now: datetime
) -> tuple[DeliveryView, ...]:
    attempts: dict[str, list[Attempt]] = {}
    for attempt in Attempt.objects.filter(message_id=message.id).order_by("id"):
        attempts.setdefault(attempt.consumer, []).append(attempt)
    statuses = _finished(attempts)
    if awaiting := standing.for_subscribers:
        statuses |= dict.fromkeys(subscribers, awaiting)
    statuses |= standing.by_consumer(paused=paused, now=now)
    waiting = {row.consumer: row for row in sorted(standing.deliveries, key=lambda row: row.run)}
    dead = {row.consumer: row for row in standing.dead_letters if row.state in UNRESOLVED}
    lanes = waits_for(list(waiting.values()))
    return tuple(
        _delivery(
            name,
            statuses[name],
            lanes.get((message.id, name)),
            waiting=waiting.get(name),
            dead=dead.get(name),
            attempts=attempts.get(name, []),
        )
        for name in sorted(statuses)
    )


DeliveryStatus = Status | Literal["filtered"]


def _finished(attempts: dict[str, list[Attempt]]) -> dict[str, DeliveryStatus]:
    meanings: dict[str, DeliveryStatus] = {Attempt.Outcome.DROPPED: "discarded", Attempt.Outcome.FILTERED: "filtered"}
    return {name: meanings.get(rows[-1].outcome, "handled") for name, rows in attempts.items()}


def _delivery(
    consumer: str,
    status: DeliveryStatus,
    lane: WaitsFor | None,
    *,
    waiting: Delivery | None,
    dead: DeadLetter | None,
    attempts: list[Attempt],
) -> DeliveryView:
    runs = [attempt.run for attempt in attempts] + [row.run for row in (waiting, dead) if row]
    return DeliveryView(
        consumer=consumer,
        status=status,
        run=max(runs, default=1),
        failures=waiting.failures if waiting else 0,
        available_at=waiting.available_at if waiting else None,
        worker=attempts[-1].worker if attempts else "",
        dead_letter_id=dead.id if dead else None,
        attempts=tuple(_attempt(attempt) for attempt in attempts),
        waits_for=lane,
    )


def _attempt(attempt: Attempt) -> AttemptView:
    return AttemptView(
        id=attempt.id,
        run=attempt.run,
        number=attempt.number,
        outcome=attempt.outcome,
        started_at=attempt.started_at,
        duration_us=attempt.duration_us,
        worker=attempt.worker,
        next_at=attempt.next_at,
        error_type=attempt.error_type or "",
        error_message=attempt.error_message or "",
        location=attempt.location or "",
        traceback=attempt.traceback or "",
        fingerprint=attempt.fingerprint or "",
    )


def _flow(id: UUID) -> tuple[list[Message], bool]:
    """Return the messages of a message's flow, oldest first, it always among them and it alone with its body."""
    own = {name: Case(When(id=id, then=F(name))) for name in ("body", "headers", "blob")}
    flow = Message.objects.filter(correlation_id=Message.objects.filter(id=id).values("correlation_id")[:1])
    flow = flow.defer(*own).annotate(**{f"own_{name}": column for name, column in own.items()})
    found = list(flow.order_by("id")[: RELATED_CAP + 1])
    is_capped = len(found) > RELATED_CAP
    found = found[:RELATED_CAP]
    this = next((record for record in found if record.id == id), None)
    if this is None and found:
        found[-1:] = Message.objects.filter(id=id)
    elif this is not None:
        for name in own:
            setattr(this, name, getattr(this, f"own_{name}"))
    return found, is_capped


def _tree(flow: list[Message], statuses: dict[UUID, Status], *, this: UUID) -> tuple[RelatedMessage, ...]:
    """Order the flow as a tree: each message after its cause, siblings by time."""
    ids = {str(record.id): record for record in flow}
    children: dict[str, list[Message]] = {}
    for record in flow:
        cause = record.causation_id or ""
        # A message that names itself as its cause, or one outside this flow, is a root.
        children.setdefault(cause if cause in ids and cause != str(record.id) else "", []).append(record)
    result: list[RelatedMessage] = []
    seen: set[UUID] = set()
    waiting = [(record, 0) for record in reversed(children.get("", []))]
    while waiting or len(seen) < len(flow):
        if not waiting:  # a circle of causes, which only a broken producer makes: cut it at its oldest message
            waiting.append((next(record for record in flow if record.id not in seen), 0))
        record, depth = waiting.pop()
        if record.id in seen:
            continue
        seen.add(record.id)
        result.append(_related(record, status=statuses[record.id], depth=depth, is_this=record.id == this))
        waiting += [(child, depth + 1) for child in reversed(children.get(str(record.id), []))]
    return tuple(result)


def _related(record: Message, *, status: Status, depth: int, is_this: bool) -> RelatedMessage:
    return RelatedMessage(
        id=record.id,
        type=record.type,
        version=record.version,
        source=record.source,
        published_at=record.published_at,
        status=status,
        depth=depth,
        is_this=is_this,
    )
