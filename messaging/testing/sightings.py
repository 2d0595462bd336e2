"""What a test may say about what happened, with errors that tell what happened instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import F

from messaging import clock
from messaging.contracts.model import MessageModel
from messaging.contracts.registry import decode
from messaging.models import Attempt, DeadLetter, Delivery, Message, ScheduledMessage
from messaging.testing.naming import ConsumerName, consumer_of
from messaging.testing.report import report

M = TypeVar("M", bound=MessageModel)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A published message: its data and its envelope."""

    data: MessageModel
    id: UUID
    key: str | None
    headers: dict[str, str]
    correlation_id: str
    causation_id: str | None
    source: str
    tenant: str
    published_at: datetime


class Sightings:
    """Assertions over what is in the tables. Each returns what it found, so that a test can look closer.

    ``times`` demands exactly so many (0: none); without it there must be at least one. ``fields`` narrow it to
    messages whose fields have these values.
    """

    def messages(self, model: type[MessageModel]) -> list[Seen]:
        """Return every message of a contract with its envelope, in the order of publication."""
        return [_seen(row, model) for row in _rows_of(model)]

    def published(self, model: type[M], *, times: int | None = None, **fields: Any) -> list[M]:
        """Assert that a message of this contract was published; return the matching ones, in order."""
        everything = [_data(row, model) for row in _rows_of(model)]
        return _matching(f"{model.contract_name} was published", model, everything, times, fields)

    def consumed(
        self, model: type[M], *, by: ConsumerName | None = None, times: int | None = None, **fields: Any
    ) -> list[M]:
        """Assert that a consumer (``by``, or any) handled a message of this contract; return those it handled."""
        handled = Attempt.objects.filter(outcome=Attempt.Outcome.HANDLED)
        what = f"{model.contract_name} was handled"
        if by is not None:
            name = consumer_of(by).name
            handled, what = handled.filter(consumer=name), f"{what} by {name}"
        ids = list(handled.order_by("id").values_list("message_id", flat=True))
        return _matching(what, model, _read(model, ids), times, fields)

    def dead_lettered(
        self, model: type[MessageModel], *, by: ConsumerName | None = None, reason: str | None = None,
        error: type[BaseException] | None = None, times: int | None = None, **fields: Any,
    ) -> list[DeadLetter]:  # fmt: skip
        """Assert that a delivery of this contract gave up and is unresolved; return the dead letters."""
        open_ones = DeadLetter.objects.filter(type=model.contract_name, state=DeadLetter.State.OPEN)
        what = f"{model.contract_name} was dead-lettered"
        if by is not None:
            name = consumer_of(by).name
            open_ones, what = open_ones.filter(consumer=name), f"{what} by {name}"
        if reason is not None:
            open_ones, what = open_ones.filter(reason=reason), f"{what} as {reason}"
        if error is not None:
            kind = error.__qualname__
            open_ones, what = open_ones.filter(error_type=kind), f"{what} for {kind}"
        letters = list(open_ones.order_by("id"))
        if not fields:  # its body may be just what cannot be read
            return _matching(what, model, letters, times, fields)
        data = _by_id(model, [letter.message_id for letter in letters])
        kept = _matching(what, model, [data[letter.message_id] for letter in letters], times, fields)
        return [letter for letter in letters if data[letter.message_id] in kept]

    def scheduled(
        self, model: type[M], *, at: datetime | None = None, times: int | None = None, **fields: Any
    ) -> list[M]:
        """Assert that a message of this contract was published with a delay (due at ``at``) and still waits."""
        waiting = ScheduledMessage.objects.filter(type=model.contract_name)
        what = f"{model.contract_name} is scheduled"
        if at is not None:
            waiting, what = waiting.filter(due_at=at), f"{what} for {at}"
        ids = list(waiting.order_by("due_at", "message_id").values_list("message_id", flat=True))
        return _matching(what, model, _read(model, ids), times, fields)

    def retrying(
        self, model: type[M], *, by: ConsumerName | None = None, times: int | None = None, **fields: Any
    ) -> list[M]:
        """Assert that a delivery of this contract failed, or was put off, and waits for its time."""
        waiting = Delivery.objects.filter(available_at__gt=clock.now()).exclude(available_at=F("created_at"))
        what = f"{model.contract_name} waits to be tried again"
        if by is not None:
            name = consumer_of(by).name
            waiting, what = waiting.filter(consumer=name), f"{what} by {name}"
        ids = list(waiting.order_by("available_at", "message_id").values_list("message_id", flat=True))
        return _matching(what, model, _read(model, ids), times, fields)


def _rows_of(model: type[MessageModel]) -> list[Message]:
    return list(Message.objects.filter(type=model.contract_name).order_by("id"))


def _read(model: type[M], ids: Sequence[UUID]) -> list[M]:
    """Return the messages of these ids that are of this contract, in the order of the ids."""
    data = _by_id(model, ids)
    return [data[id] for id in ids if id in data]


def _by_id(model: type[M], ids: Sequence[UUID]) -> dict[UUID, M]:
    rows = Message.objects.filter(type=model.contract_name, id__in=set(ids))
    return {row.id: _data(row, model) for row in rows}


def _data(row: Message, model: type[M]) -> M:
    data = decode(row.type, row.version, row.content(), model=model)
    assert isinstance(data, model)
    return data


def _seen(row: Message, model: type[MessageModel]) -> Seen:
    return Seen(
        data=_data(row, model), id=row.id, key=row.key, headers=row.headers, correlation_id=row.correlation_id,
        causation_id=row.causation_id, source=row.source, tenant=row.tenant, published_at=row.published_at,
    )  # fmt: skip


def _matching(
    what: str, model: type[MessageModel], found: list[T], times: int | None, fields: dict[str, Any]
) -> list[T]:
    unknown = fields.keys() - model.model_fields
    if unknown:
        known = ", ".join(model.model_fields)
        raise TypeError(f"{model.__name__} has no field {', '.join(sorted(unknown))}; it has {known}.")
    kept = [each for each in found if all(getattr(each, name) == value for name, value in fields.items())]
    if len(kept) == times or (times is None and kept):
        return kept
    raise AssertionError(report(what, found=found, kept=kept, times=times, fields=fields))
