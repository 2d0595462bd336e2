"""How a message stands, derived from the hot tables: no message carries a status column.

Scheduled messages, outbox rows and deliveries are work to do, dead letters are work that failed, cancelled ones never
ran, and a message in none of them is handled. The filters (``with_status``) and the rows (``standings``) follow the
same rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import starmap
from typing import Any, Literal, NamedTuple, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import (
    BigIntegerField,
    DateTimeField,
    Exists,
    F,
    Field,
    Model,
    OuterRef,
    Q,
    QuerySet,
    TextField,
    UUIDField,
    Value,
)
from django.db.models.functions import Cast

from messaging.models import (
    CancelledMessage,
    ConsumerState,
    DeadLetter,
    Delivery,
    OutboxEntry,
    ScheduledMessage,
    Subscription,
)
from messaging.queries.shared import once

M = TypeVar("M", bound=Model)
Status = Literal["pending", "running", "retrying", "handled", "dead", "discarded", "paused", "scheduled", "cancelled"]

WORST_FIRST: tuple[Status, ...] = (
    "dead", "retrying", "running", "paused", "scheduled", "pending", "discarded", "cancelled", "handled",
)  # fmt: skip
UNRESOLVED = (DeadLetter.State.OPEN, DeadLetter.State.REPLAYING, DeadLetter.State.RESUBMITTING)
_DEAD = (DeadLetter.State.OPEN, DeadLetter.State.RESUBMITTING)
"""A replaying one is not dead: its new run stands in the outbox or the deliveries."""


def worst(statuses: Iterable[Status]) -> Status:
    """Return the status an operator should see first; without any, the message is handled."""
    return min(statuses, key=WORST_FIRST.index, default="handled")


def paused_consumers(now: datetime) -> frozenset[str]:
    return frozenset(name for name, until in _pauses() if until is None or until > now)


@once
def _pauses() -> tuple[tuple[str, datetime | None], ...]:
    return tuple(ConsumerState.objects.filter(paused_at__isnull=False).values_list("name", "paused_until"))


def _paused_states(now: datetime) -> QuerySet[ConsumerState]:
    return ConsumerState.objects.filter(paused_at__isnull=False).filter(Q(paused_until=None) | Q(paused_until__gt=now))


def delivery_status(delivery: Delivery, *, paused: frozenset[str], now: datetime) -> Status:
    if delivery.claim_token is not None:
        return "running"
    if delivery.consumer in paused:
        return "paused"
    if delivery.failures or delivery.crashes:
        return "retrying"
    return "scheduled" if delivery.available_at > now else "pending"


def dead_letter_status(dead_letter: DeadLetter) -> Status:
    if dead_letter.state in _DEAD:
        return "dead"
    if dead_letter.state == DeadLetter.State.REPLAYING:
        return "pending"
    return "discarded" if dead_letter.state == DeadLetter.State.DISCARDED else "handled"


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A message that waits for its time (``cancelled_at`` is None), or was taken back before it."""

    due_at: datetime
    consumer: str | None
    """The only one it goes to; None means all subscribers."""
    cancelled_at: datetime | None
    cancelled_by: str
    reason: str

    @property
    def status(self) -> Status:
        return "cancelled" if self.cancelled_at else "scheduled"


@dataclass
class Standing:
    """What the hot tables say about one message."""

    hold: Hold | None = None
    outbox: list[OutboxEntry] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)

    def status(self, *, paused: frozenset[str], now: datetime) -> Status:
        """Return the worst of all runs of all consumers."""
        found: list[Status] = [delivery_status(row, paused=paused, now=now) for row in self.deliveries]
        found += [dead_letter_status(row) for row in self.dead_letters if row.state != DeadLetter.State.REPLAYING]
        found += ["pending"] * bool(self.outbox)
        found += [self.hold.status] if self.hold else []
        return worst(found)

    def by_consumer(self, *, paused: frozenset[str], now: datetime) -> dict[str, Status]:
        """Return the newest run's status of each consumer that has a row; a waiting run beats a finished one."""
        result: dict[str, Status] = {}
        for dead_letter in sorted(self.dead_letters, key=lambda row: row.run):
            result[dead_letter.consumer] = dead_letter_status(dead_letter)
        result |= {entry.consumer: "pending" for entry in self.outbox if entry.consumer}
        for delivery in sorted(self.deliveries, key=lambda row: row.run):
            result[delivery.consumer] = delivery_status(delivery, paused=paused, now=now)
        if self.hold and self.hold.consumer:
            result[self.hold.consumer] = self.hold.status
        return result

    @property
    def for_subscribers(self) -> Status | None:
        """What awaits every subscriber of a message that no relay has fanned out; None when one has."""
        if self.hold and not self.hold.consumer:
            return self.hold.status
        return "pending" if any(entry.consumer is None for entry in self.outbox) else None


class Hot(NamedTuple):
    """What the hot tables say of some messages."""

    standings: dict[UUID, Standing]
    paused: frozenset[str]
    """Consumers that are paused."""
    subscribers: dict[str, list[str]]
    """Consumers of the types asked for: who will get what no relay has fanned out."""


def standings(ids: Iterable[UUID], *, now: datetime, types: Iterable[str] = ()) -> Hot:
    """Read the hot tables for these messages: one query, however many messages."""
    wanted = list(ids)
    result = {identifier: Standing() for identifier in wanted}
    paused: set[str] = set()
    subscribers: dict[str, list[str]] = defaultdict(list)
    parts = _hot_parts(wanted, sorted(types), now) if wanted else []
    for row in starmap(_HotRow, parts[0].union(*parts[1:], all=True) if parts else ()):
        if row.table == "paused":
            paused.add(str(row.consumer))
        elif row.table == "subscription":
            subscribers[str(row.key)].append(str(row.consumer))
        else:
            _note(result[row.message_id], row)
    return Hot(result, frozenset(paused), subscribers)


class _HotRow(NamedTuple):
    """A row of any of the hot tables: what it has no column for is None."""

    table: str
    message_id: UUID
    consumer: str | None
    run: int
    at: datetime
    """When it is due."""
    claim_token: UUID | None
    failures: int
    crashes: int
    key: str | None
    position: int | None
    id: UUID
    state: str
    cancelled_at: datetime | None
    by: str
    reason: str


_UUID, _TEXT, _NUMBER, _MOMENT = UUIDField(), TextField(), BigIntegerField(), DateTimeField()
_FIELDS: dict[str, Field[Any, Any]] = {
    "message_id": _UUID, "consumer": _TEXT, "run": _NUMBER, "at": _MOMENT, "claim_token": _UUID, "failures": _NUMBER,
    "crashes": _NUMBER, "key": _TEXT, "position": _NUMBER, "id": _UUID, "state": _TEXT, "cancelled_at": _MOMENT,
    "by": _TEXT, "reason": _TEXT,
}  # fmt: skip


def _hot_parts(ids: list[UUID], types: list[str], now: datetime) -> list[QuerySet[Any, Any]]:
    """Return a query of each hot table, all with the columns of ``_HotRow``."""

    def part(table: str, rows: QuerySet[Any], *same: str, **columns: str) -> QuerySet[Any, Any]:
        columns |= dict(zip(same, same, strict=True))
        # Typed, or PostgreSQL takes the nothing of the first part for a text.
        taken = [F(columns[n]) if n in columns else Cast(Value(None), field) for n, field in _FIELDS.items()]
        return rows.values_list(Value(table, _TEXT), *taken)

    common = ("message_id", "consumer")
    return [
        part("delivery", Delivery.objects.filter(message_id__in=ids), *common, "run", "claim_token", "failures",
             "crashes", "key", "position", at="available_at"),
        part("outbox", OutboxEntry.objects.filter(message_id__in=ids), *common, "run"),
        part("dead_letter", DeadLetter.objects.filter(message_id__in=ids), *common, "run", "id", "state"),
        part("scheduled", ScheduledMessage.objects.filter(message_id__in=ids), *common, at="due_at"),
        part("cancelled", CancelledMessage.objects.filter(message_id__in=ids), "message_id", "cancelled_at", "reason",
             at="due_at", by="cancelled_by"),
        part("paused", _paused_states(now), consumer="name"),
        *([part("subscription", Subscription.objects.filter(type__in=types), "consumer", key="type")] if types else []),
    ]  # fmt: skip


def _note(standing: Standing, row: _HotRow) -> None:
    common: dict[str, Any] = {"message_id": row.message_id, "consumer": row.consumer, "run": row.run}
    if row.table == "delivery":
        waiting = Delivery(**common, available_at=row.at, claim_token=row.claim_token, failures=row.failures,
                           crashes=row.crashes, key=row.key, position=row.position)  # fmt: skip
        standing.deliveries.append(waiting)
    elif row.table == "outbox":
        standing.outbox.append(OutboxEntry(**common))
    elif row.table == "dead_letter":
        standing.dead_letters.append(DeadLetter(**common, id=row.id, state=row.state))
    else:
        standing.hold = Hold(due_at=row.at, consumer=row.consumer, cancelled_at=row.cancelled_at,
                             cancelled_by=row.by or "", reason=row.reason or "")  # fmt: skip


def with_status(status: Status, *, consumer: str, paused: frozenset[str], now: datetime, within: Q) -> Q:
    """Return the condition on a message that its status is ``status``; ``within`` is the range of message ids.

    It starts from the hot table of that status; worse statuses are excluded row by row. With ``consumer``, the
    hot row must be that consumer's own; what other consumers make of the message then does not matter.
    """
    own = Q(consumer=consumer) if consumer else Q()
    condition = Q() if status == "handled" else _has(status, own, within, consumer=consumer, paused=paused, now=now)
    if consumer and status != "handled":
        return condition
    worse = WORST_FIRST[: WORST_FIRST.index(status)]
    if "dead" in worse:
        gone = (*_DEAD, DeadLetter.State.DISCARDED) if "discarded" in worse else _DEAD
        condition &= ~_exists(_dead(gone).filter(own))
    if "pending" in worse:
        condition &= ~_exists(Delivery.objects.filter(own)) & ~_in_outbox(consumer)
        condition &= ~_exists(ScheduledMessage.objects.all())
        if "cancelled" in worse:
            condition &= ~_exists(CancelledMessage.objects.all())
    elif waiting := tuple(name for name in worse if name != "dead"):
        condition &= ~_exists(_deliveries(waiting, paused=paused, now=now))
    return condition


def unresolved_dead_letters() -> QuerySet[DeadLetter]:
    return _dead(UNRESOLVED)


def _has(status: Status, own: Q, within: Q, *, consumer: str, paused: frozenset[str], now: datetime) -> Q:
    """Return the condition that one of the message's rows in the hot tables has this status."""
    if status in {"dead", "discarded"}:
        states = _DEAD if status == "dead" else (DeadLetter.State.DISCARDED,)
        return Q(id__in=_dead(states).filter(own, within).values("message_id"))
    if status == "cancelled":
        return Q(id__in=CancelledMessage.objects.filter(within).values("message_id"))
    waiting = _deliveries((status,), paused=paused, now=now).filter(own, within).values("message_id")
    if status == "scheduled":
        later = _addressed(ScheduledMessage.objects.filter(within), consumer)
        return Q(id__in=waiting.union(later.values("message_id"), all=True))
    if status != "pending":
        return Q(id__in=waiting)
    # One list of ids, not two conditions joined by OR, which PostgreSQL would answer by reading every message.
    return Q(id__in=waiting.union(_outbox(consumer).filter(within).values("message_id"), all=True))


def _dead(states: tuple[str, ...]) -> QuerySet[DeadLetter]:
    return DeadLetter.objects.filter(state__in=states)


def _deliveries(statuses: tuple[Status, ...], *, paused: frozenset[str], now: datetime) -> QuerySet[Delivery]:
    """Return deliveries in any of these statuses: ``delivery_status`` as a condition."""
    free, held = Q(claim_token=None), Q(consumer__in=sorted(paused))
    fresh = Q(failures=0, crashes=0)
    conditions: dict[Status, Q] = {
        "running": ~free,
        "paused": free & held,
        "retrying": free & ~held & ~fresh,
        "scheduled": free & ~held & fresh & Q(available_at__gt=now),
        "pending": free & ~held & fresh & Q(available_at__lte=now),
    }
    wanted = Q(message_id__in=[])
    for status in statuses:
        wanted |= conditions.get(status, Q(message_id__in=[]))
    return Delivery.objects.filter(wanted)


def _exists(rows: QuerySet[Any]) -> Q:
    return Q(Exists(rows.filter(message_id=OuterRef("id"))))


def _in_outbox(consumer: str) -> Q:
    """Return the condition that the message waits in the outbox (for everyone, or for this consumer).

    The outbox has no index on the message, for the sake of publishing. PostgreSQL hashes an EXISTS, however
    many rows; SQLite would scan the outbox for each message, but materialises an IN.
    """
    rows = _outbox(consumer)
    if connection.vendor == "postgresql":
        return _exists(rows)
    return Q(id__in=rows.values("message_id"))


def _outbox(consumer: str) -> QuerySet[OutboxEntry]:
    return _addressed(OutboxEntry.objects.all(), consumer)


def _addressed(rows: QuerySet[M], consumer: str) -> QuerySet[M]:
    return rows.filter(Q(consumer=consumer) | Q(consumer=None)) if consumer else rows
