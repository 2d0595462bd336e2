"""Business flows compared by the message that starts them: how many, how long, how many messages, and what failed.

A flow begins with a message that nothing caused, and is all messages of its correlation id. What is read is bounded:
the newest MESSAGE_CAP messages and ATTEMPT_CAP attempts of the time asked for, in three queries.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.db.models import BigIntegerField, Func, QuerySet, Subquery
from django.db.models.functions import Coalesce

from messaging import clock
from messaging.ids import id_at, time_of
from messaging.models import Attempt, DeadLetter, Delivery, Message, OutboxEntry
from messaging.queries.pages import Page, is_storable, keyset_page
from messaging.queries.statuses import UNRESOLVED
from messaging.queries.unions import all_of
from messaging.sagas import all_sagas

MESSAGE_CAP, ATTEMPT_CAP, WAITING_CAP = 4_000, 16_000, 4_000
_FAILED = {
    Attempt.Outcome.RETRIED, Attempt.Outcome.DEAD_LETTERED, Attempt.Outcome.CRASHED, Attempt.Outcome.DROPPED,
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
State = Literal["running", "dead", "handled"]


@dataclass(frozen=True, kw_only=True)
class FlowKind:
    """All flows of one first message. Times are from its publication to the end of the last handling."""

    type: str
    saga: str
    """The saga that the message starts; empty when no saga leads the flow."""
    flows: int
    running: int
    """Flows with deliveries to come; timeouts that wait are none."""
    messages: float
    """Per flow, what sagas tell themselves included."""
    handlings: float
    """Runs of handlers per flow, those that failed included."""
    p50_ms: float | None
    p95_ms: float | None
    """Of the flows that are not running; None without any."""
    failed: int
    """Flows in which a handler failed, though it may have succeeded later."""
    dead: int
    """Flows with an unresolved dead letter."""


@dataclass(frozen=True, kw_only=True)
class FlowKinds:
    kinds: tuple[FlowKind, ...]
    """The most frequent first."""
    since: datetime
    """As far back as was read: later than what was asked for when there was too much."""
    until: datetime
    messages: int
    is_capped: bool


@dataclass(frozen=True, kw_only=True)
class FlowRow:
    """One flow. ``duration_ms`` is None while nothing of it was handled."""

    id: UUID
    """Its first message, and the cursor of pages."""
    correlation_id: str
    key: str | None
    started_at: datetime
    state: State
    has_failed: bool
    messages: int
    handlings: int
    duration_ms: float | None


@dataclass
class _Flow:
    first: UUID
    messages: int = 0
    handlings: int = 0
    has_failed: bool = False
    is_running: bool = False
    is_dead: bool = False
    ended_us: int | None = None

    def duration_ms(self, started_us: int) -> float | None:
        return None if self.ended_us is None else (self.ended_us - started_us) / 1000


class _Microseconds(Func):
    """A time as whole microseconds since the epoch: to make datetimes of thousands takes longer than to read them."""

    output_field = BigIntegerField()

    def as_postgresql(self, compiler: Any, connection: Any, **given: Any) -> Any:
        template = "CAST(EXTRACT(EPOCH FROM %(expressions)s) * 1000000 AS bigint)"
        return super().as_sql(compiler, connection, template=template, **given)

    def as_sqlite(self, compiler: Any, connection: Any, **given: Any) -> Any:
        seconds = "CAST(strftime('%%%%s', %(expressions)s) AS integer)"
        rest = "CAST(substr(substr(%(expressions)s, 21) || '000000', 1, 6) AS integer)"
        return super().as_sql(compiler, connection, template=f"({seconds} * 1000000 + {rest})", **given)


def flow_kinds(*, since: datetime) -> FlowKinds:
    """Compare the flows that began after ``since``. Three queries, however many there are."""
    now = clock.now()
    columns = ("id", "type", "correlation_id", "causation_id", _Microseconds("published_at"))
    found = list(Message.objects.filter(id__gte=id_at(since)).order_by("-id").values_list(*columns)[: MESSAGE_CAP + 1])
    rows = found[:MESSAGE_CAP][::-1]  # the oldest first: a flow's first message comes before the others
    reached = since if len(found) <= MESSAGE_CAP else time_of(rows[0][0]) or since
    flows: dict[str, _Flow] = {}
    starts: dict[str, list[tuple[_Flow, int]]] = defaultdict(list)
    flow_of: dict[UUID, _Flow] = {}
    for identifier, contract, correlation, cause, published_us in rows:
        flow = flows.get(correlation)
        if flow is None:
            if cause is not None:
                continue  # it began before
            flow = flows[correlation] = _Flow(first=identifier)
            starts[contract].append((flow, published_us))
        flow.messages += 1
        flow_of[identifier] = flow
    first = id_at(reached)
    recent = Attempt.objects.filter(id__gte=first).order_by("-id")
    is_capped = _note_attempts(recent, flow_of) == ATTEMPT_CAP or len(found) > MESSAGE_CAP
    _note_standing(flow_of, first=first)
    sagas = _started_sagas()
    kinds = [_kind(contract, begun, sagas.get(contract, "")) for contract, begun in starts.items()]
    return FlowKinds(
        kinds=tuple(sorted(kinds, key=lambda kind: (-kind.flows, kind.type))), since=reached, until=now,
        messages=len(rows), is_capped=is_capped,
    )  # fmt: skip


def list_flows(
    contract: str, *, limit: int = 50, after: UUID | None = None, before: UUID | None = None
) -> Page[FlowRow]:  # fmt: skip
    """Return the flows that a message of this contract started, newest first.

    Only MESSAGE_CAP messages of the contract are looked at for a page.
    """
    if not is_storable(contract):
        return Page(rows=(), older=None, newer=None)
    begun = Message.objects.filter(type=contract, causation_id=None).only("id", "correlation_id", "key", "published_at")
    # Of a contract that seldom or never starts one, no more messages are looked at than would fill the page else.
    same = Message.objects.filter(type=contract).values("id")
    if before is not None:
        last = Subquery(same.filter(id__gt=before).order_by("id")[MESSAGE_CAP : MESSAGE_CAP + 1])
        begun = begun.filter(id__lt=Coalesce(last, UUID(int=(1 << 128) - 1)))
    else:
        older = same if after is None else same.filter(id__lt=after)
        begun = begun.filter(
            id__gt=Coalesce(Subquery(older.order_by("-id")[MESSAGE_CAP : MESSAGE_CAP + 1]), UUID(int=0))
        )
    return keyset_page(begun, _rows, limit=limit, after=after, before=before)


def _rows(begun: list[Message]) -> list[FlowRow]:
    flows = {message.correlation_id: _Flow(first=message.id) for message in begun}
    found = Message.objects.filter(correlation_id__in=list(flows)).order_by("-id").values_list("id", "correlation_id")
    flow_of: dict[UUID, _Flow] = {}
    for identifier, correlation in found[:MESSAGE_CAP]:
        flows[correlation].messages += 1
        flow_of[identifier] = flows[correlation]
    _note_attempts(Attempt.objects.filter(message_id__in=list(flow_of)), flow_of)
    _note_standing(flow_of, first=min(flow_of))
    return [_row(message, flows[message.correlation_id]) for message in begun]


def _row(message: Message, flow: _Flow) -> FlowRow:
    started_us = (message.published_at - _EPOCH) // timedelta(microseconds=1)
    return FlowRow(
        id=message.id, correlation_id=message.correlation_id, key=message.key, started_at=message.published_at,
        state="running" if flow.is_running else "dead" if flow.is_dead else "handled", has_failed=flow.has_failed,
        messages=flow.messages, handlings=flow.handlings, duration_ms=flow.duration_ms(started_us),
    )  # fmt: skip


def _note_attempts(attempts: QuerySet[Attempt, Attempt], flow_of: dict[UUID, _Flow]) -> int:
    columns = ("message_id", "outcome", _Microseconds("started_at"), "duration_us")
    count = 0
    for message_id, outcome, started_us, duration_us in attempts.values_list(*columns)[:ATTEMPT_CAP]:
        count += 1
        flow = flow_of.get(message_id)
        if flow is None or outcome == Attempt.Outcome.FILTERED:
            continue
        flow.handlings += 1
        flow.has_failed |= outcome in _FAILED
        ended_us = started_us + duration_us
        flow.ended_us = max(flow.ended_us or ended_us, ended_us)
    return count


def _note_standing(flow_of: dict[UUID, _Flow], *, first: UUID) -> None:
    """Note what is under way and what is dead, of messages from ``first`` on."""
    rows = all_of(
        Delivery.objects.filter(message_id__gte=first).values_list("message_id", flat=True)[:WAITING_CAP],
        OutboxEntry.objects.order_by("-id").values_list("message_id", flat=True)[:WAITING_CAP],
        DeadLetter.objects.filter(id__gte=first, state__in=UNRESOLVED)
        .order_by("-id").values_list("message_id", flat=True)[:WAITING_CAP],
    )  # fmt: skip
    for place, message_id in rows:
        flow = flow_of.get(message_id)
        if flow is not None:
            flow.is_dead |= place == _LETTERS
            flow.is_running |= place != _LETTERS


_LETTERS = 2


def _kind(contract: str, begun: Sequence[tuple[_Flow, int]], saga: str) -> FlowKind:
    flows = [flow for flow, _ in begun]
    ended = [flow.duration_ms(started_us) for flow, started_us in begun if not flow.is_running]
    times = sorted(each for each in ended if each is not None)
    return FlowKind(
        type=contract, saga=saga, flows=len(flows), running=sum(flow.is_running for flow in flows),
        messages=_mean(flow.messages for flow in flows), handlings=_mean(flow.handlings for flow in flows),
        p50_ms=_nearest_rank(times, 0.50), p95_ms=_nearest_rank(times, 0.95),
        failed=sum(flow.has_failed for flow in flows), dead=sum(flow.is_dead for flow in flows),
    )  # fmt: skip


def _mean(counts: Iterable[int]) -> float:
    listed = list(counts)
    return round(sum(listed) / len(listed), 2)


def _nearest_rank(ordered: Sequence[float], share: float) -> float | None:
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3) if ordered else None


def _started_sagas() -> dict[str, str]:
    """Return the saga that each message starts."""
    return {
        model.contract_name: saga.definition.name
        for saga in all_sagas() for rule in saga.definition.rules if rule.is_start for model in rule.models
    }  # fmt: skip
