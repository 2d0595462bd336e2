"""Which messages of a replay are run, and why the others are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.db.models import Max, Q, QuerySet

from messaging import filters
from messaging.consumers import Consumer
from messaging.errors import BodyUnavailable
from messaging.ids import id_at
from messaging.models import (
    Attempt,
    CancelledMessage,
    DeadLetter,
    Delivery,
    HistoryReplay,
    Message,
    OutboxEntry,
    ScheduledMessage,
)

UNRESOLVED = (DeadLetter.State.OPEN, DeadLetter.State.REPLAYING, DeadLetter.State.RESUBMITTING)


def messages_of(replay: HistoryReplay) -> QuerySet[Message]:
    """Return the messages of a replay's range that were not looked at yet, in order of their ids."""
    found = Message.objects.filter(type__in=replay.types, id__gte=id_at(replay.from_at), id__lt=id_at(replay.to_at))
    if replay.cursor is not None:
        found = found.filter(id__gt=replay.cursor)
    return found.order_by("id")


def left_out_in_shadow(consumer: Consumer, rows: Sequence[Message]) -> dict[UUID, str]:
    """Return why messages do not concern this consumer at all, by id."""
    found = {row.id: "addressed to another consumer" for row in rows if row.consumer not in (None, consumer.name)}
    taken_back = CancelledMessage.objects.filter(message_id__in=[row.id for row in rows])
    cancelled = dict.fromkeys(taken_back.values_list("message_id", flat=True), "cancelled before its time")
    return {**_unwanted(consumer, rows), **found, **cancelled}


def left_out(replay: HistoryReplay, consumer: Consumer, rows: Sequence[Message]) -> dict[UUID, str]:
    """Return why messages are not sent again, by id. Needs a transaction that holds the consumer's row.

    The questions follow the way of a message: what leaves the outbox between the first and the second is found by
    the second, and what is settled meanwhile has its attempt or dead letter by the third.
    """
    ids = [row.id for row in rows]
    mine = Q(consumer=replay.consumer) | Q(consumer=None)
    waiting = set(ScheduledMessage.objects.filter(mine, message_id__in=ids).values_list("message_id", flat=True))
    waiting |= set(OutboxEntry.objects.filter(mine, message_id__in=ids).values_list("message_id", flat=True))
    at_work = Delivery.objects.filter(consumer=replay.consumer, message_id__in=ids)
    waiting |= set(at_work.values_list("message_id", flat=True))
    letters = DeadLetter.objects.filter(consumer=replay.consumer, message_id__in=ids)
    found = dict.fromkeys(waiting, "still on its way")
    for id in letters.filter(state__in=UNRESOLVED).values_list("message_id", flat=True):
        found[id] = "an unresolved dead letter, to be replayed as such"
    if replay.only_missing:
        had = set(letters.values_list("message_id", flat=True))
        had |= set(_attempts(replay.consumer, ids).exclude(outcome="filtered").values_list("message_id", flat=True))
        for id in had - found.keys():
            found[id] = "had it already"
    return {**found, **left_out_in_shadow(consumer, rows)}


def next_runs(consumer: str, ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the number of the next run of each message at this consumer; those not in it begin with 1."""
    runs: dict[UUID, int] = {}
    for model in (Attempt, DeadLetter):
        given: QuerySet[Any] = model.objects.filter(consumer=consumer, message_id__in=ids)
        for id, last in given.values("message_id").annotate(last=Max("run")).values_list("message_id", "last"):
            runs[id] = max(runs.get(id, 1), last + 1)
    return runs


def _attempts(consumer: str, ids: Sequence[UUID]) -> QuerySet[Attempt]:
    return Attempt.objects.filter(consumer=consumer, message_id__in=ids)


def _unwanted(consumer: Consumer, rows: Sequence[Message]) -> dict[UUID, str]:
    if consumer.filter is None:
        return {}
    return {id: "not wanted by its filter" for id, _ in filters.refused(_asked(consumer, consumer.filter, rows))}


def _asked(consumer: Consumer, wanted: Mapping[str, Any], rows: Sequence[Message]) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        body, blob = bytes(row.body), row.blob
        if blob and filters.body_fields(wanted) and filters.verdict(wanted, blob) is None:
            with suppress(BodyUnavailable):  # of what is gone nobody can say what it was, so its run does
                body, blob = row.content(), None
        yield (
            0, row.id, consumer.name, wanted, row.type, row.version, row.kind, row.source, row.tenant, row.key,
            row.correlation_id, row.headers, body, blob,
        )  # fmt: skip
