"""What pages and programs read of sagas."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from messaging.contracts import exact
from messaging.contracts.redaction import mask_model
from messaging.models import DeadLetter, SagaInstance, SagaTransition
from messaging.queries.lanes import IS_UNRESOLVED
from messaging.queries.message_filter import distinct_values
from messaging.queries.pages import Page, is_storable, keyset_page
from messaging.sagas import all_sagas, find_saga
from messaging.sagas.definition import COMPENSATING, Definition

SHOWN = 200
"""Most transitions of one instance that a page shows."""
TROUBLED = 20


@dataclass(frozen=True, kw_only=True)
class SagaRow:
    """One instance in a list. ``is_failed``: something of its flow is dead-lettered while it is unfinished."""

    id: UUID
    saga: str
    correlation: str
    state: str
    version: int
    started_at: datetime
    changed_at: datetime
    ended_at: datetime | None
    is_failed: bool
    is_compensating: bool
    pending: int
    """Timeouts that it waits for."""


@dataclass(frozen=True, kw_only=True)
class TransitionRow:
    """One line of history. ``changes`` holds masked values as [before, after]."""

    number: int
    at: datetime
    kind: str
    rule: str
    message_id: UUID
    message_type: str
    state_before: str
    state_after: str
    changes: dict[str, list[Any]]
    messages_out: list[dict[str, Any]]
    timeouts: list[dict[str, Any]]
    completed: str
    undone: str
    actor: str
    note: str


@dataclass(frozen=True, kw_only=True)
class SagaFailure:
    """An open dead letter of the flow."""

    id: UUID
    consumer: str
    type: str
    error: str
    fingerprint: str
    dead_at: datetime
    attempts: int


@dataclass(frozen=True, kw_only=True)
class SagaDetail:
    """One instance with its history, newest first."""

    row: SagaRow
    flow: str
    data: dict[str, Any]
    steps: list[dict[str, Any]]
    timeouts: dict[str, dict[str, Any]]
    undoing_to: str
    history: tuple[TransitionRow, ...]
    failures: tuple[SagaFailure, ...]
    definition: Definition | None
    """None when this release does not know the saga."""


def list_sagas(
    *, saga: str = "", state: str = "", show: str = "unfinished", correlation: str = "", limit: int = 50,
    after: UUID | None = None, before: UUID | None = None,
) -> Page[SagaRow]:  # fmt: skip
    """Newest first. ``show`` is unfinished, failed, ended or all."""
    if not is_storable(saga, state, correlation):
        return Page(rows=(), older=None, newer=None)
    rows = SagaInstance.objects.annotate(has_failed=_has_failed())
    exact_ones = {"saga": saga, "state": state, "correlation": correlation}
    rows = rows.filter(**{name: value for name, value in exact_ones.items() if value})
    if show == "ended":
        rows = rows.filter(ended_at__isnull=False)
    elif show in ("unfinished", "failed"):
        rows = rows.filter(ended_at=None)
    if show == "failed":
        rows = rows.filter(has_failed=True)
    return keyset_page(rows, lambda found: [_row(each) for each in found], limit=limit, after=after, before=before)


def troubled_sagas() -> tuple[SagaRow, ...]:
    """Return the unfinished instances whose flow holds a dead letter, the longest unchanged first."""
    rows = SagaInstance.objects.filter(ended_at=None).annotate(has_failed=_has_failed()).filter(has_failed=True)
    return tuple(_row(each) for each in rows.order_by("changed_at")[:TROUBLED])


def _has_failed() -> Q:
    # A message may come from another flow; what the saga tells itself has its correlation as the key. Two conditions
    # with an index each: for one with an OR inside, PostgreSQL reads every dead letter for every saga.
    letters = DeadLetter.objects.filter(state=DeadLetter.State.OPEN)
    in_flow = letters.filter(IS_UNRESOLVED, correlation_id=OuterRef("flow"))
    own = letters.filter(IS_UNRESOLVED, consumer=OuterRef("saga"), key=OuterRef("correlation"))
    return Q(Exists(in_flow)) | Q(Exists(own))


def failed_of(row: SagaInstance) -> QuerySet[DeadLetter, DeadLetter]:
    """Return the open dead letters of an instance: those of its flow, and of what it told itself."""
    mine = Q(correlation_id=row.flow) | Q(consumer=row.saga, key=row.correlation)
    return DeadLetter.objects.filter(mine, state=DeadLetter.State.OPEN)


def _row(each: Any) -> SagaRow:
    return SagaRow(
        id=each.id, saga=each.saga, correlation=each.correlation, state=each.state, version=each.version,
        started_at=each.started_at, changed_at=each.changed_at, ended_at=each.ended_at,
        is_failed=each.has_failed and each.ended_at is None, is_compensating=each.state == COMPENSATING,
        pending=len(each.timeouts),
    )  # fmt: skip


def saga_detail(*, saga: str, correlation: str) -> SagaDetail | None:
    """Return one instance, its data masked; None when there is none."""
    if not is_storable(saga, correlation):
        return None
    row = SagaInstance.objects.annotate(has_failed=_has_failed()).filter(saga=saga, correlation=correlation).first()
    if row is None:
        return None
    declared = find_saga(saga)
    definition = declared.definition if declared else None
    history = SagaTransition.objects.filter(instance=row.id).order_by("-id")[:SHOWN]
    letters = failed_of(row).order_by("-id")[:10]
    return SagaDetail(
        row=_row(row), flow=row.flow, data=_masked(definition, exact.loads(row.data.encode())), steps=row.steps,
        timeouts=row.timeouts, undoing_to=row.undoing_to, definition=definition,
        history=tuple(_transition(each, definition) for each in history),
        failures=tuple(
            SagaFailure(
                id=each.id, consumer=each.consumer, type=each.type, error=f"{each.error_type}: {each.error_message}",
                fingerprint=each.fingerprint, dead_at=each.dead_at, attempts=each.attempts,
            )
            for each in letters
        ),
    )  # fmt: skip


def _transition(each: SagaTransition, definition: Definition | None) -> TransitionRow:
    before = _masked(definition, {name: pair[0] for name, pair in each.changes.items()})
    after = _masked(definition, {name: pair[1] for name, pair in each.changes.items()})
    return TransitionRow(
        number=each.number, at=each.at, kind=each.kind, rule=each.rule, message_id=each.message_id,
        message_type=each.message_type, state_before=each.state_before, state_after=each.state_after,
        changes={name: [before[name], after[name]] for name in each.changes}, messages_out=each.messages_out,
        timeouts=each.timeouts, completed=each.completed, undone=each.undone, actor=each.actor, note=each.note,
    )  # fmt: skip


def _masked(definition: Definition | None, data: dict[str, Any]) -> dict[str, Any]:
    return mask_model(definition.data, data) if definition else dict.fromkeys(data, "(hidden: unknown saga)")


@dataclass(frozen=True, kw_only=True)
class SagaCount:
    saga: str
    state: str
    count: int
    failed: int


def count_sagas() -> list[SagaCount]:
    """Count the unfinished instances by saga and state; sagas without any count nothing."""
    found = (
        SagaInstance.objects.filter(ended_at=None).annotate(has_failed=_has_failed()).values("saga", "state")
        .annotate(count=Count("id"), failed=Count("id", filter=Q(has_failed=True))).order_by("saga", "state")
    )  # fmt: skip
    return [SagaCount(**each) for each in found]


def known_sagas() -> list[str]:
    """Return the names of the sagas of this release, and of others with instances."""
    names = {saga.definition.name for saga in all_sagas()}
    return sorted(names | set(distinct_values(SagaInstance._meta.db_table, "saga")))
