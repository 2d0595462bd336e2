"""Dead letters: groups by fingerprint, then the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db.models import CharField, Count, DateTimeField, Max, Min, Q, QuerySet, Value
from django.db.models.functions import Cast, TruncMinute

from messaging import clock, payloads
from messaging.ids import id_at
from messaging.models import DeadLetter, Message
from messaging.queries.pages import CappedCount, Page, capped_count, is_storable, keyset_page
from messaging.queries.statuses import UNRESOLVED

_ON_ITS_WAY = (DeadLetter.State.REPLAYING, DeadLetter.State.RESUBMITTING)
MINUTES = 60


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
    newest_id: UUID
    """The newest member: the sample that the group's page opens."""


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
    row_body: bytes = field(repr=False)
    blob: dict[str, Any] | None
    """Where a large body lies: name, sha256, size in bytes."""
    expires_at: datetime | None
    content_type: str
    headers: dict[str, str]
    published_at: datetime

    @cached_property
    def body(self) -> bytes:
        """The body as published, read when it is asked for.

        Raises:
            BodyUnavailable: a large one is missing, or not what was published.
        """
        return payloads.content(self.row_body, self.blob)


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


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What became of dead letters that were replayed; the parts add up to ``total``. Sent is not done."""

    total: int
    handled: int
    failed_again: int
    waiting: int
    discarded: int
    untouched: int
    """Open again or still: the replay was refused, or taken back."""


_ROW = tuple(field.name for field in fields(DeadLetterRow))


def failure_groups(*, limit: int = 200) -> list[FailureGroup]:
    """Largest first."""
    return _groups(DeadLetter.objects.filter(state__in=UNRESOLVED), limit=limit)


def get_failure_group(fingerprint: str) -> FailureGroup | None:
    """Return the group of one fingerprint, None when it has no unresolved member (any more)."""
    if not is_storable(fingerprint):
        return None
    found = _groups(DeadLetter.objects.filter(state__in=UNRESOLVED, fingerprint=fingerprint), limit=1)
    return found[0] if found else None


def list_dead_letters(
    where: DeadLetterFilter, *, limit: int = 50, after: UUID | None = None, before: UUID | None = None
) -> Page[DeadLetterRow]:
    return keyset_page(
        _matching(where).only(*_ROW),
        lambda records: [_row(r) for r in records],
        limit=limit,
        after=after,
        before=before,
    )


def dead_letter_rows(ids: Sequence[UUID]) -> tuple[DeadLetterRow, ...]:
    """Read these again, newest first, whatever became of them: a list on screen that must not move."""
    return tuple(_row(found) for found in DeadLetter.objects.filter(id__in=ids).only(*_ROW).order_by("-id"))


def count_dead_letters(where: DeadLetterFilter) -> CappedCount:
    return capped_count(_matching(where))


def dead_letter_ids(where: DeadLetterFilter, *, limit: int) -> list[UUID]:
    """Return the ids of a whole selection, newest first, to freeze it before an operation."""
    return list(_matching(where).order_by("-id").values_list("id", flat=True)[:limit])


def count_newer_dead_letters(where: DeadLetterFilter, *, than: UUID) -> CappedCount:
    """How many arrived after ``than``: the "+2 new" pill of a group."""
    return capped_count(_matching(where).filter(id__gt=than))


def states_of(ids: Sequence[UUID]) -> dict[UUID, tuple[str, str]]:
    """Return (state, resolved_by) of these dead letters; one that does not exist is missing."""
    rows = DeadLetter.objects.filter(id__in=ids).values_list("id", "state", "resolved_by")
    return {id: (state, resolved_by) for id, state, resolved_by in rows}


def consumers_of(ids: Sequence[UUID]) -> list[str]:
    """Return the consumers whose deliveries these are, sorted."""
    rows = DeadLetter.objects.filter(id__in=ids).order_by("consumer")
    return list(rows.values_list("consumer", flat=True).distinct())


def progress_of(ids: Sequence[UUID]) -> Progress:
    """Say what became of these dead letters since they were sent."""
    rows = list(DeadLetter.objects.filter(id__in=ids).values_list("state", "resolution"))
    failed = sum(resolution == "failed_again" for _, resolution in rows)
    states = [state for state, resolution in rows if resolution != "failed_again"]
    resolved, waiting = states.count(DeadLetter.State.RESOLVED), sum(states.count(state) for state in _ON_ITS_WAY)
    discarded = states.count(DeadLetter.State.DISCARDED)
    return Progress(
        total=len(rows),
        handled=resolved,
        failed_again=failed,
        waiting=waiting,
        discarded=discarded,
        untouched=len(rows) - failed - resolved - waiting - discarded,
    )


def get_dead_letter(id: UUID) -> DeadLetterDetail | None:
    dead_letter = DeadLetter.objects.filter(id=id).first()
    if dead_letter is None:
        return None
    message = Message.objects.filter(id=dead_letter.message_id).first()
    return DeadLetterDetail(
        **{name: getattr(dead_letter, name) for name in _ROW},
        traceback=dead_letter.traceback,
        row_body=bytes(message.body) if message else b"",
        blob=message.blob if message else None,
        expires_at=message.expires_at if message else None,
        content_type=message.content_type if message else "",
        headers=message.headers if message else {},
        published_at=message.published_at if message else dead_letter.dead_at,
    )


def _matching(where: DeadLetterFilter) -> QuerySet[DeadLetter]:
    exact = {name: getattr(where, name) for name in ("fingerprint", "consumer", "type", "key", "correlation_id")}
    if not is_storable(*exact.values(), where.state):
        return DeadLetter.objects.none()
    condition = Q(state=where.state) if where.state else Q(state__in=UNRESOLVED)
    condition &= Q(**{name: value for name, value in exact.items() if value})
    if where.since:
        condition &= Q(id__gte=id_at(where.since))
    if where.until:
        condition &= Q(id__lt=id_at(where.until))
    return DeadLetter.objects.filter(condition)


def _row(dead_letter: DeadLetter) -> DeadLetterRow:
    return DeadLetterRow(**{name: getattr(dead_letter, name) for name in _ROW})


def _groups(members: QuerySet[DeadLetter], *, limit: int) -> list[FailureGroup]:
    """Two queries: figures per fingerprint with the last hour by minute, and the newest member of each."""
    this_minute = clock.now().replace(second=0, microsecond=0)
    first = this_minute - timedelta(minutes=MINUTES - 1)
    figures: list[tuple[Any, ...]] = []
    bars: dict[str, list[int]] = {}
    for fingerprint, minute, *values in _figures(members, first):
        if minute is None:
            figures.append((fingerprint, *values))
        elif 0 <= (position := int((minute - first).total_seconds() // 60)) < MINUTES:
            bars.setdefault(fingerprint, [0] * MINUTES)[position] += values[0]
    figures.sort(key=lambda group: (-group[1], group[0]))
    newest = DeadLetter.objects.filter(id__in=[UUID(group[-1]) for group in figures[:limit]]).only(*_ROW)
    samples = {sample.fingerprint: sample for sample in newest} if figures else {}
    return [
        FailureGroup(
            fingerprint=fingerprint,
            consumer=sample.consumer,
            type=sample.type,
            error_type=sample.error_type,
            error_message=sample.error_message,
            location=sample.location,
            reason=sample.reason,
            count=count,
            replaying=replaying,
            first_at=first_at,
            last_at=last_at,
            per_minute=tuple(bars.get(fingerprint, (0,) * MINUTES)),
            newest_id=sample.id,
        )
        for fingerprint, count, replaying, first_at, last_at, _ in figures[:limit]
        if (sample := samples.get(fingerprint))  # none: resolved between the two queries
    ]


def _figures(members: QuerySet[DeadLetter], since: datetime) -> QuerySet[DeadLetter, Any]:
    """Return the figures of each fingerprint, then its count in each minute from ``since`` on."""
    columns = ("fingerprint", "minute", "count", "replaying", "first_at", "last_at", "newest")
    groups = members.values("fingerprint").annotate(
        minute=Cast(Value(None), DateTimeField()),
        count=Count("id"),
        replaying=Count("id", filter=Q(state__in=_ON_ITS_WAY)),
        first_at=Min("dead_at"),
        last_at=Max("dead_at"),
        newest=Max(Cast("id", CharField())),  # PostgreSQL has no max(uuid); as text the order is the same
    )
    minutes = members.filter(dead_at__gte=since).annotate(minute=TruncMinute("dead_at")).values("fingerprint", "minute")
    minutes = minutes.annotate(
        count=Count("id"), replaying=Value(0), first_at=Min("dead_at"), last_at=Max("dead_at"),
        newest=Value("", CharField()),
    )  # fmt: skip
    return groups.order_by().values_list(*columns).union(minutes.order_by().values_list(*columns), all=True)
