"""What an operator may ask of messages, as conditions that the indexes serve."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import CharField, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Cast
from django.db.models.lookups import IsNull

from messaging import clock
from messaging.ids import id_at
from messaging.models import Attempt, DeadLetter, Delivery, Message, ReceivedMessage
from messaging.queries.pages import is_storable
from messaging.queries.statuses import Status, paused_consumers, with_status

SKEW = timedelta(hours=1)
"""An attempt's id may bear an earlier time than its message's, if clocks of two hosts differ; not by more."""


@dataclass(frozen=True, kw_only=True)
class MessageFilter:
    """What to list; every given field narrows. Times are aware datetimes."""

    type: str = ""
    """A contract's name, or its last part alone ("OrderPlaced")."""
    status: Status | None = None
    correlation_id: str = ""
    key: str = ""
    consumer: str = ""
    source: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_scan(self) -> bool:
        """Whether something is asked for that no index serves: each message of the time has to be looked at."""
        by_attempts = bool(self.consumer) and self.status in {None, "handled"}
        return not (self.correlation_id or self.key) and bool(self.source or by_attempts)

    @property
    def is_few(self) -> bool:
        """Whether the messages stand in a hot table, from which they are looked up."""
        return self.status not in {None, "handled"}

    def within(self, column: str) -> Q:
        """Return the condition that the message id in this column is of the time asked for."""
        condition = Q()
        if self.since:
            condition &= Q(**{f"{column}__gte": id_at(self.since)})
        if self.until:
            condition &= Q(**{f"{column}__lt": id_at(self.until)})
        return condition


def in_order(where: MessageFilter) -> QuerySet[Any, Any]:
    """Return the messages of ``where`` with ``place``, by which they are sorted as by their ids.

    Where they are few, PostgreSQL would walk through every message by its id until it met enough of them; the order
    of the texts is the same, and no index serves it.
    """
    return matching(where).annotate(place=Cast("id", CharField()) if where.is_few else F("id"))


def matching(where: MessageFilter) -> QuerySet[Message]:
    texts = (where.type, where.correlation_id, where.key, where.consumer, where.source)
    if not is_storable(*texts):
        return Message.objects.none()
    exact = {"correlation_id": where.correlation_id, "key": where.key, "source": where.source}
    condition = Q(**{name: value for name, value in exact.items() if value})
    if where.type:
        condition &= Q(type__in=type_names(where.type))
    condition &= where.within("id")
    if where.status:
        now, within = clock.now(), where.within("message_id")
        condition &= with_status(
            where.status, consumer=where.consumer, paused=paused_consumers(now), now=now, within=within
        )
    if where.consumer and where.status in {None, "handled"}:
        condition &= _received_by(where.consumer, since=where.since)
    return Message.objects.filter(condition)


def _received_by(consumer: str, *, since: datetime | None) -> Q:
    attempts = Attempt.objects.filter(message_id=OuterRef("id"), consumer=consumer)
    if since:
        attempts = attempts.filter(id__gte=id_at(since - SKEW))
    deliveries = Delivery.objects.filter(message_id=OuterRef("id"), consumer=consumer)
    # As values, not as EXISTS: of an EXISTS beside an OR, PostgreSQL makes a hash of all attempts there are.
    has_attempt, has_delivery = (
        IsNull(Subquery(rows.values("message_id")[:1]), False) for rows in (attempts, deliveries)
    )
    return Q(has_attempt) | Q(has_delivery)


def type_names(text: str) -> list[str]:
    if "." in text:
        return [text]
    return [name for name in known_types() if name.rpartition(".")[2] == text] or [text]


def _registered() -> set[str]:
    from messaging import contracts

    return {contract.name for contract in contracts.known()}


def find_message(text: str) -> UUID | None:
    """Resolve what an operator pasted: a message id, a dead letter's id, an external id, or a correlation id."""
    text = text.strip()
    if not text or len(text) > 200 or not is_storable(text):
        return None
    try:
        identifier = UUID(text)
    except ValueError:
        pass
    else:
        if Message.objects.filter(id=identifier).exists():
            return identifier
        if found := DeadLetter.objects.filter(id=identifier).values_list("message_id", flat=True).first():
            return UUID(str(found))
    sources = distinct_values("messaging_receivedmessage", "source")
    received = ReceivedMessage.objects.filter(source__in=sources, external_id=text)
    if found := received.order_by("-received_at").values_list("message_id", flat=True).first():
        return UUID(str(found))
    return Message.objects.filter(correlation_id=text).order_by("id").values_list("id", flat=True).first()


def known_types() -> list[str]:
    """Contract names seen or registered, sorted: suggestions for the search field."""
    return sorted({*distinct_values("messaging_message", "type"), *_registered()})


def distinct_values(table: str, column: str) -> list[str]:
    """Return a column's values by hopping over its index: as many steps as there are values, not rows."""
    sql = (
        f"WITH RECURSIVE seen(value) AS (SELECT min({column}) FROM {table} UNION ALL"
        f" SELECT (SELECT min({column}) FROM {table} WHERE {column} > seen.value) FROM seen"
        " WHERE seen.value IS NOT NULL) SELECT value FROM seen WHERE value IS NOT NULL LIMIT 500"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [row[0] for row in cursor.fetchall()]
