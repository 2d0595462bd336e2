"""Messages as operators see them: lists, counts, a histogram, and finding one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet, UUIDField, Value
from django.db.models.expressions import RawSQL

from messaging import clock
from messaging.ids import id_at, time_of
from messaging.models import Attempt, Message
from messaging.queries.few import MOST, few
from messaging.queries.message_detail import (
    AttemptView,
    DeliveryView,
    MessageDetail,
    RelatedMessage,
    get_message,
)
from messaging.queries.message_filter import (
    SKEW,
    MessageFilter,
    find_message,
    in_order,
    known_types,
    matching,
    type_names,
)
from messaging.queries.pages import PAGE_CAP, CappedCount, Page, capped_count, keyset_page
from messaging.queries.statuses import (
    WORST_FIRST,
    Status,
    standings,
    unresolved_dead_letters,
)
from messaging.queries.unions import as_uuid

__all__ = [
    "BIN_CAP",
    "DEAD_CAP",
    "STATUSES",
    "AttemptView",
    "DeliveryDot",
    "DeliveryView",
    "MessageDetail",
    "MessageFilter",
    "MessageRow",
    "RelatedMessage",
    "Status",
    "count_messages",
    "count_newer",
    "count_with_dead_letter",
    "find_message",
    "get_message",
    "histogram",
    "is_countable",
    "known_types",
    "list_messages",
    "nearest_before",
    "oldest_message",
]

STATUSES = WORST_FIRST
BIN_CAP = 1_000
"""One bar of the histogram counts no further: with ninety bars that is what a page has time for."""
DEAD_CAP = MOST
"""All bars together count no more messages that stand in a hot table."""
SCANNED = 10_000
"""Of more messages no histogram is made where no index serves what is asked for."""
LOOKED_AT = 2_000
"""Of more messages no page looks for what no index serves."""
LOOK_BACK = 2_000
"""So many messages before a window without a match are looked at for one."""
_FINAL = (Attempt.Outcome.HANDLED, Attempt.Outcome.IGNORED, Attempt.Outcome.DROPPED, Attempt.Outcome.DEAD_LETTERED)
_COLUMNS = ("id", "type", "version", "key", "source", "correlation_id", "published_at")


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


def list_messages(
    where: MessageFilter, *, limit: int = 50, after: UUID | None = None, before: UUID | None = None
) -> Page[MessageRow]:
    """Newest first. ``after`` continues to older rows, ``before`` to newer ones.

    By a source or a consumer, which no index serves, a page looks at LOOKED_AT messages at most: it may hold few rows,
    or none, and still have a cursor.
    """
    if where.is_few and (all_of_them := few(where)).is_whole:
        ids = all_of_them.next_to(limit=max(1, min(limit, PAGE_CAP)), after=after, before=before)
        rows = Message.objects.filter(id__in=ids).only(*_COLUMNS)
        return keyset_page(rows, _rows, limit=limit, after=after, before=before)
    last = _last_looked_at(where, after=after, before=before) if where.is_scan else None
    if last is not None:  # nothing older than the page is asked for its attempts
        where = replace(where, since=max(filter(None, (where.since, time_of(before or last))), default=None))
    rows = in_order(where).only(*_COLUMNS)
    if last is not None:
        rows = rows.filter(id__lte=last) if before else rows.filter(id__gte=last)
    page = keyset_page(rows, _rows, limit=limit, after=after, before=before, order="place")
    if last is None or (page.newer if before else page.older):
        return page
    if before:
        return replace(page, newer=last, older=page.older or UUID(int=before.int + 1), ended_early=time_of(last))
    newer = page.newer or (UUID(int=after.int - 1) if after else None)
    return replace(page, older=last, newer=newer, ended_early=time_of(last))


def _last_looked_at(where: MessageFilter, *, after: UUID | None, before: UUID | None) -> UUID | None:
    """Return the message at which a page ends, whatever it found; None where it comes to the end before."""
    all_of_it = matching(MessageFilter(type=where.type, since=where.since, until=where.until))
    if before:
        all_of_it = all_of_it.filter(id__gt=before).order_by("id")
    else:
        all_of_it = (all_of_it.filter(id__lt=after) if after else all_of_it).order_by("-id")
    found = list(all_of_it.values_list("id", flat=True)[LOOKED_AT - 1 : LOOKED_AT + 1])
    return found[0] if len(found) > 1 else None


def count_messages(where: MessageFilter) -> CappedCount:
    return capped_count(matching(where))


def count_with_dead_letter(where: MessageFilter) -> CappedCount:
    """Count the messages of ``where`` that have an unresolved dead letter."""
    return capped_count(matching(where).filter(id__in=unresolved_dead_letters().values("message_id")))


def count_newer(where: MessageFilter, *, than: UUID) -> CappedCount:
    """How many messages arrived after ``than``: the "+37 new" pill."""
    return capped_count(matching(where).filter(id__gt=than))


def histogram(where: MessageFilter, *, since: datetime, until: datetime, bins: int) -> list[tuple[int, int]]:
    """Per bin of equal width: messages with an unresolved dead letter, other messages (published in the bin).

    Each bin is an index range of its own and counts to BIN_CAP at most; one query in all.
    """
    width = (until - since) / bins
    edges = [id_at(since + width * number) for number in range(bins)] + [id_at(until)]
    if where.is_few:
        return few(where).counts(edges)
    rows = matching(where).order_by().filter(id__gte=edges[0], id__lt=edges[-1])
    return _count_ranges(rows, _dead_of(where, rows, edges), edges, since, width)


def is_countable(where: MessageFilter, *, since: datetime) -> bool:
    """Return whether a page has time for the histogram: always by an index, else of SCANNED messages at most."""
    if not where.is_scan:
        return True
    times = MessageFilter(since=since, until=where.until)
    return not matching(times).order_by("id").values_list("id", flat=True)[SCANNED : SCANNED + 1]


def _bin_of(identifier: UUID, since: datetime, width: timedelta, bins: int) -> int:
    moment = time_of(identifier) or since
    return min(bins - 1, max(0, int((moment - since) / width)))


def _rows(records: list[Message]) -> list[MessageRow]:
    now = clock.now()
    ids = [record.id for record in records]
    hot, paused, expected = standings(ids, now=now, types={record.type for record in records})
    finished = _finished(ids)
    rows = []
    for record in records:
        standing = hot[record.id]
        dots: dict[str, Status] = dict(finished.get(record.id, {}))
        if awaiting := standing.for_subscribers:
            dots |= dict.fromkeys(expected.get(record.type, ()), awaiting)
        dots |= standing.by_consumer(paused=paused, now=now)
        rows.append(
            MessageRow(
                **{name: getattr(record, name) for name in _COLUMNS},
                status=standing.status(paused=paused, now=now),
                deliveries=tuple(DeliveryDot(consumer=name, status=dots[name]) for name in sorted(dots)),
            )
        )
    return rows


def _finished(ids: list[UUID]) -> dict[UUID, dict[str, Status]]:
    """Return how the last finished attempt of each consumer ended, for these messages."""
    attempts = Attempt.objects.filter(message_id__in=ids, outcome__in=_FINAL)
    times = [time_of(identifier) for identifier in ids]
    if all(times):  # prunes the older partitions
        attempts = attempts.filter(id__gte=id_at(min(time for time in times if time) - SKEW))
    result: dict[UUID, dict[str, Status]] = {}
    for message_id, consumer, outcome in attempts.order_by("id").values_list("message_id", "consumer", "outcome"):
        status: Status = "discarded" if outcome == Attempt.Outcome.DROPPED else "handled"
        result.setdefault(message_id, {})[consumer] = status
    return result


def _dead_of(where: MessageFilter, rows: QuerySet[Message], edges: list[UUID]) -> QuerySet[Any, Any]:
    """Return the ids of those messages that have an unresolved dead letter, by the dead letters alone if they tell."""
    letters = unresolved_dead_letters().filter(message_id__gte=edges[0], message_id__lt=edges[-1])
    if where.source or where.consumer or where.status:
        return rows.filter(id__in=letters.values("message_id")).values_list("id")
    same = {"correlation_id": where.correlation_id, "key": where.key}
    if where.type:
        letters = letters.filter(type__in=type_names(where.type))
    return letters.filter(**{n: v for n, v in same.items() if v}).order_by().values_list("message_id").distinct()


def _count_ranges(
    rows: QuerySet[Message], dead: QuerySet[Any, Any], edges: list[UUID], since: datetime, width: timedelta
) -> list[tuple[int, int]]:  # fmt: skip
    """Count each bin by its range of an index, and the dead ones, which are few, one by one."""
    bins = len(edges) - 1
    low, high = (RawSQL(f"bins.{name}", [], output_field=UUIDField()) for name in ("low", "high"))  # noqa: S611  constants
    one = rows.filter(id__gte=low, id__lt=high).values_list(Value(1))[:BIN_CAP]
    if one.query.is_empty():
        return [(0, 0)] * bins
    (sql, values), (dead_sql, dead_values) = (query.query.sql_with_params() for query in (one, dead[:DEAD_CAP]))
    # One plan for all bins: a UNION of as many counts takes longer to plan than to run.
    bound = "CAST(%s AS uuid)" if connection.vendor == "postgresql" else "%s"
    ranges = ", ".join(f"({number}, {bound}, {bound})" for number in range(bins))
    bounds = [_adapted(edge) for pair in pairwise(edges) for edge in pair]
    counts, bad = [0] * bins, [0] * bins
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH bins(number, low, high) AS (VALUES {ranges})"
            f" SELECT number, (SELECT count(*) FROM ({sql}) AS bin), NULL FROM bins"
            f" UNION ALL SELECT -1, 1, dead.* FROM ({dead_sql}) AS dead",
            [*bounds, *values, *dead_values],
        )
        for number, count, identifier in cursor.fetchall():
            if identifier is None:
                counts[number] = count
            else:
                bad[_bin_of(as_uuid(identifier), since, width, bins)] += 1
    return [(dead_ones, max(0, count - dead_ones)) for dead_ones, count in zip(bad, counts, strict=True)]


def _adapted(identifier: UUID) -> Any:
    return Message._meta.pk.get_db_prep_value(identifier, connection)


def oldest_message(where: MessageFilter | None = None) -> datetime | None:
    """Return when the oldest message of ``where`` was published, None without any."""
    if where and where.is_few and (all_of_them := few(where)).is_whole:
        oldest = [UUID(int=number) for number in all_of_them.ids[:1]]
        return Message.objects.filter(id__in=oldest).values_list("published_at", flat=True).first()
    rows = in_order(where or MessageFilter()).order_by("place").values_list("published_at", flat=True)
    return rows.first()


def nearest_before(where: MessageFilter) -> datetime | None:
    """Return when the last match before the searched window was published: where an empty page can point to.

    By what no index serves, only the LOOK_BACK messages before the window are looked at.
    """
    earlier = replace(where, since=None, until=where.since)
    found = in_order(earlier).order_by("-place").values_list("published_at", flat=True)
    if where.is_scan:
        before = matching(MessageFilter(until=where.since)).order_by("-id").values_list("id", flat=True)
        if first := before[LOOK_BACK : LOOK_BACK + 1].first():
            found = found.filter(id__gte=first)
    return found.first()
