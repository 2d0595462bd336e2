"""One business flow: its messages, who published and received each, every attempt, and what its end waited for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from messaging import clock
from messaging.models import Attempt, Message, Span
from messaging.queries.pages import is_storable
from messaging.queries.statuses import (
    UNRESOLVED,
    Standing,
    Status,
    dead_letter_status,
    delivery_status,
    standings,
    worst,
)  # fmt: skip

MESSAGE_CAP, ATTEMPT_CAP, SPAN_CAP = 500, 5_000, 5_000


@dataclass(frozen=True, kw_only=True)
class FlowAttempt:
    id: UUID
    number: int
    run: int
    outcome: str
    started_at: datetime
    duration_us: int
    next_at: datetime | None
    error_type: str
    is_critical: bool = False

    @property
    def ended_at(self) -> datetime:
        return self.started_at + timedelta(microseconds=self.duration_us)

    @property
    def is_failure(self) -> bool:
        return self.outcome not in {"handled", "ignored", "filtered"}


@dataclass(frozen=True, kw_only=True)
class FlowDelivery:
    """One consumer's side of a message: its attempts oldest first, and how it stands now."""

    consumer: str
    status: Status
    attempts: tuple[FlowAttempt, ...]
    due_at: datetime | None
    """When a waiting one may run next."""
    dead_letter_id: UUID | None
    is_critical: bool = False


@dataclass(frozen=True, kw_only=True)
class FlowMessage:
    id: UUID
    type: str
    version: int
    kind: str
    source: str
    key: str | None
    published_at: datetime
    status: Status
    depth: int
    cause: UUID | None
    """The message of this flow whose handling published it."""
    publisher: str
    """The consumer that published it, as far as that is known."""
    deliveries: tuple[FlowDelivery, ...]


@dataclass(frozen=True, kw_only=True)
class Flow:
    correlation_id: str
    messages: tuple[FlowMessage, ...]
    """In order of publication."""
    started_at: datetime
    ended_at: datetime
    """When the last attempt ended so far."""
    status: Status
    trace_ids: tuple[str, ...]
    is_capped: bool
    now: datetime

    @property
    def is_running(self) -> bool:
        return self.status in {"pending", "running", "retrying", "scheduled", "paused"}

    @property
    def tree(self) -> list[FlowMessage]:
        """Return the messages in tree order: each after its cause."""
        below: dict[UUID | None, list[FlowMessage]] = {}
        for message in self.messages:
            below.setdefault(message.cause, []).append(message)
        ordered: list[FlowMessage] = []
        waiting = list(reversed(below.get(None, [])))
        while waiting:
            message = waiting.pop()
            ordered.append(message)
            waiting += reversed(below.get(message.id, []))
        return ordered

    @property
    def deliveries(self) -> list[FlowDelivery]:
        return [delivery for message in self.messages for delivery in message.deliveries]


def get_flow(correlation_id: str) -> Flow | None:
    """Return a flow with at most MESSAGE_CAP messages, or None. Four queries, however long it is."""
    if not is_storable(correlation_id):
        return None
    columns = (
        "id", "type", "version", "kind", "source", "key", "published_at", "occurred_at", "causation_id", "traceparent",
    )  # fmt: skip
    found = list(Message.objects.filter(correlation_id=correlation_id).only(*columns).order_by("id")[: MESSAGE_CAP + 1])
    if not found:
        return None
    rows, now = found[:MESSAGE_CAP], clock.now()
    hot, paused, _ = standings((row.id for row in rows), now=now)
    attempts = _attempts([row.id for row in rows])
    traces = tuple(dict.fromkeys(row.traceparent[3:35] for row in rows if row.traceparent))
    publishers = _publishers(rows, attempts, traces)
    depths = _depths(rows)
    messages = [
        FlowMessage(
            id=row.id, type=row.type, version=row.version, kind=row.kind, source=row.source, key=row.key,
            published_at=row.published_at, status=hot[row.id].status(paused=paused, now=now),
            depth=depths[row.id][0], cause=depths[row.id][1], publisher=publishers.get(row.id, ""),
            deliveries=_deliveries(hot[row.id], attempts.get(row.id, []), paused=paused, now=now),
        )
        for row in rows
    ]  # fmt: skip
    ends = [attempt.ended_at for some in attempts.values() for _, attempt in some]
    return Flow(
        correlation_id=correlation_id, messages=tuple(_with_critical_path(messages)), trace_ids=traces,
        started_at=rows[0].published_at, ended_at=max([rows[-1].published_at, *ends]),
        status=worst(message.status for message in messages), is_capped=len(found) > MESSAGE_CAP, now=now,
    )  # fmt: skip


Tried = list[tuple[str, FlowAttempt]]
"""Attempts of one message, each with its consumer, oldest first."""


def _attempts(ids: Sequence[UUID]) -> dict[UUID, Tried]:
    found: dict[UUID, Tried] = {}
    columns = (
        "id", "message_id", "consumer", "run", "number", "outcome", "started_at", "duration_us", "next_at",
        "error_type",
    )  # fmt: skip
    for row in Attempt.objects.filter(message_id__in=ids).only(*columns).order_by("id")[:ATTEMPT_CAP]:
        attempt = FlowAttempt(
            id=row.id, number=row.number, run=row.run, outcome=row.outcome, started_at=row.started_at,
            duration_us=row.duration_us, next_at=row.next_at, error_type=row.error_type or "",
        )  # fmt: skip
        found.setdefault(row.message_id, []).append((row.consumer, attempt))
    return found


def _deliveries(standing: Standing, tried: Tried, *, paused: frozenset[str], now: datetime) -> tuple[FlowDelivery, ...]:
    by_consumer: dict[str, list[FlowAttempt]] = {}
    for consumer, attempt in tried:
        by_consumer.setdefault(consumer, []).append(attempt)
    states: dict[str, Status] = {
        name: "discarded" if some[-1].outcome in {"dropped", "filtered"} else "handled"
        for name, some in by_consumer.items()
    }
    dead, due = {}, {}
    for row in sorted(standing.dead_letters, key=lambda each: each.run):
        states[row.consumer] = dead_letter_status(row)
        if row.state in UNRESOLVED:
            dead[row.consumer] = row.id
    for waiting in sorted(standing.deliveries, key=lambda each: each.run):
        states[waiting.consumer] = delivery_status(waiting, paused=paused, now=now)
        due[waiting.consumer] = waiting.available_at
    return tuple(
        FlowDelivery(
            consumer=name, status=states[name], attempts=tuple(by_consumer.get(name, ())), due_at=due.get(name),
            dead_letter_id=dead.get(name),
        )
        for name in states
    )  # fmt: skip


def _depths(rows: Sequence[Message]) -> dict[UUID, tuple[int, UUID | None]]:
    """Return each message's level in the tree of causes, and its cause; a circle is cut at its oldest message."""
    known = {str(row.id): row.id for row in rows}
    found: dict[UUID, tuple[int, UUID | None]] = {}
    for row in rows:  # a cause is older than its effect
        cause = known.get(row.causation_id or "")
        if cause is None or cause not in found:
            found[row.id] = (0, None)
        else:
            found[row.id] = (found[cause][0] + 1, cause)
    return found


def _publishers(rows: Sequence[Message], attempts: dict[UUID, Tried], traces: Iterable[str]) -> dict[UUID, str]:
    """Return which consumer published each message: by its spans, or else by which attempt was running then."""
    spans = Span.objects.filter(trace_id__in=list(traces)[:50]).only("span_id", "parent_id", "consumer", "message_id")
    found = list(spans[:SPAN_CAP])
    handlers = {span.span_id: span.consumer for span in found if span.consumer}
    parents = {span.span_id: span.parent_id for span in found if not span.consumer}
    result: dict[UUID, str] = {}
    for row in rows:
        if not row.causation_id:
            continue
        mine = row.traceparent[36:52]
        consumer = handlers.get(parents.get(mine, "")) or handlers.get(mine)
        result[row.id] = consumer or _running_then(row, attempts)
    return result


def _running_then(row: Message, attempts: dict[UUID, Tried]) -> str:
    try:
        tried = attempts.get(UUID(row.causation_id or ""), [])
    except ValueError:
        return ""
    at = row.occurred_at
    running = [(each.started_at, name) for name, each in tried if each.started_at <= at <= each.ended_at]
    return max(running)[1] if running else ""


def _with_critical_path(messages: list[FlowMessage]) -> list[FlowMessage]:
    """Mark what the last finished attempt waited for: its own tries, the attempt that published it, and so on back."""
    by_id = {message.id: message for message in messages}
    finished = [
        (attempt.ended_at, message.id, delivery.consumer)
        for message in messages for delivery in message.deliveries for attempt in delivery.attempts
    ]  # fmt: skip
    marked: set[tuple[UUID, str]] = set()
    step = max(finished)[1:] if finished else None
    while step is not None and step not in marked:
        marked.add(step)
        message = by_id[step[0]]
        step = (message.cause, message.publisher) if message.cause and message.publisher else None
    return [
        replace(
            message,
            deliveries=tuple(_marked(each, (message.id, each.consumer) in marked) for each in message.deliveries),
        )
        for message in messages
    ]


def _marked(delivery: FlowDelivery, is_critical: bool) -> FlowDelivery:
    if not is_critical:
        return delivery
    return replace(
        delivery, is_critical=True, attempts=tuple(replace(each, is_critical=True) for each in delivery.attempts)
    )
