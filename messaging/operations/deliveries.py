"""Hasten or cancel deliveries that wait for their time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from messaging import audit, signals
from messaging.actors import Actor
from messaging.database import store
from messaging.errors import OperationRefused
from messaging.models import Attempt, DeadLetter, Delivery, Message
from messaging.operations.bulk import BULK_LIMIT
from messaging.operations.guard import carry_out, checked_reason, record_refusal

State = DeadLetter.State
ReasonNot = str | None


@dataclass(frozen=True, kw_only=True)
class DeliveryId:
    """Names one delivery; as text "<message id>/<run>/<consumer>"."""

    message_id: UUID
    consumer: str
    run: int = 1

    def __str__(self) -> str:
        return f"{self.message_id}/{self.run}/{self.consumer}"

    @classmethod
    def parse(cls, text: str) -> DeliveryId:
        """Read the text form.

        Raises:
            ValueError: it is not one.
        """
        message_id, run, consumer = text.split("/", 2)
        return cls(message_id=UUID(message_id), run=int(run), consumer=consumer)


@dataclass(frozen=True, kw_only=True)
class RefusedDelivery:
    """One delivery that was left as it is, and why, in words for an operator."""

    id: DeliveryId
    why: str


@dataclass(frozen=True, kw_only=True)
class DeliveriesResult:
    """The deliveries that were changed and those that were refused. They add up to those asked for."""

    done: tuple[DeliveryId, ...]
    refused: tuple[RefusedDelivery, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "done": [str(id) for id in self.done],
            "refused": [{"id": str(refusal.id), "why": refusal.why} for refusal in self.refused],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DeliveriesResult:
        return cls(
            done=tuple(map(DeliveryId.parse, value["done"])),
            refused=tuple(RefusedDelivery(id=DeliveryId.parse(r["id"]), why=r["why"]) for r in value["refused"]),
        )


def hasten_deliveries(
    *, ids: Sequence[DeliveryId], actor: Actor, reason: str = "", request_id: str | None = None
) -> DeliveriesResult:
    """Make waiting deliveries due now: retries, and what a handler put off."""
    return _each(_hasten, "delivery.hasten", ids, actor, reason, request_id, needs_reason=False)


def cancel_deliveries(
    *, ids: Sequence[DeliveryId], actor: Actor, reason: str, request_id: str | None = None
) -> DeliveriesResult:
    """Give waiting deliveries up, with a reason (required): each becomes a dead letter that is discarded already."""
    return _each(_cancel, "delivery.cancel", ids, actor, reason, request_id, needs_reason=True)


def _each(
    one: Callable[[Delivery, Actor], ReasonNot], action: str, ids: Sequence[DeliveryId], actor: Actor, reason: str,
    request_id: str | None, *, needs_reason: bool,
) -> DeliveriesResult:  # fmt: skip
    def act() -> dict[str, Any]:
        wanted, why = _checked(ids), checked_reason(reason, is_required=needs_reason)
        done, refused = [], []
        # In one order, so that two operators with overlapping selections wait instead of deadlocking.
        for id in sorted(wanted, key=str):
            row = _rows(id).select_for_update().first()
            refusal = "is not waiting any more" if row is None else _why_not(row) or one(row, actor)
            if refusal:
                refused.append(RefusedDelivery(id=id, why=refusal))
                record_refusal(actor, action, f"delivery:{id}", refusal, reason=why, request_id=request_id)
            else:
                done.append(id)
                audit.record(actor, action, f"delivery:{id}", reason=why, request_id=request_id)
        transaction.on_commit(partial(_changed), robust=True)
        return DeliveriesResult(done=tuple(done), refused=tuple(refused)).as_json()

    texts = [str(id) for id in ids]
    target = f"delivery:{texts[0]}" if len(texts) == 1 else f"delivery:{len(texts)} rows"
    answer = carry_out(
        act, actor=actor, action=action, target=target, question=(texts, reason), request_id=request_id
    )  # fmt: skip
    return DeliveriesResult.from_json(answer)


def _changed() -> None:
    signals.changed.send_robust(None, topics=frozenset({"dead_letters", "messages", "consumers", "audit"}))


def _checked(ids: Sequence[DeliveryId]) -> list[DeliveryId]:
    unique = list(dict.fromkeys(ids))
    if not 0 < len(unique) <= BULK_LIMIT:
        raise OperationRefused(f"Select between 1 and {BULK_LIMIT} deliveries.", code="invalid", field="ids")
    return unique


def _rows(id: DeliveryId) -> QuerySet[Delivery]:
    return Delivery.objects.filter(message_id=id.message_id, consumer=id.consumer, run=id.run)


def _unclaimed(row: Delivery) -> QuerySet[Delivery]:
    id = DeliveryId(message_id=row.message_id, consumer=row.consumer, run=row.run)
    return _rows(id).filter(claim_token=None)


def _why_not(row: Delivery) -> ReasonNot:
    return "is running now" if row.claim_token else None


def _hasten(row: Delivery, actor: Actor) -> ReasonNot:
    now = store().now()
    if row.available_at <= now:
        return "is due already"
    return None if _unclaimed(row).update(available_at=now) else "another process got there first"


def _cancel(row: Delivery, actor: Actor) -> ReasonNot:
    if not _unclaimed(row).delete()[0]:
        return "another process got there first"
    now = store().now()
    message = Message.objects.filter(id=row.message_id).defer("body").first()
    DeadLetter.objects.create(
        message_id=row.message_id, consumer=row.consumer, run=row.run, type=message.type if message else "",
        version=message.version if message else 0, key=row.key, position=row.position,
        correlation_id=message.correlation_id if message else "", reason=DeadLetter.Reason.CANCELLED,
        attempts=row.failures + row.crashes, **_last_failure(row), dead_at=now, resolves=row.resolves,
        state=State.DISCARDED, resolution="discarded", resolved_by=actor.name, resolved_at=now,
    )  # fmt: skip
    if row.resolves:
        _hand_back(row.resolves)
    return None


def _last_failure(row: Delivery) -> dict[str, str]:
    """Return what the last attempt of the run died of, so that the dead letter still says it."""
    failed = Attempt.objects.filter(message_id=row.message_id, consumer=row.consumer, run=row.run, fingerprint__gt="")
    last = failed.order_by("-id").first()
    names = ("fingerprint", "error_type", "error_message", "location", "traceback")
    return {name: getattr(last, name, None) or "" for name in names}


def _hand_back(dead_letter: UUID) -> None:
    """Open the dead letter again that the cancelled run was meant to resolve: nobody has repaired it."""
    DeadLetter.objects.filter(id=dead_letter, state__in=[State.REPLAYING, State.RESUBMITTING]).update(
        state=State.OPEN, resolved_by=""
    )
