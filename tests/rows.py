"""Rows as the bus leaves them, for tests of what reads them: messages with their deliveries, attempts, dead letters."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from messaging import clock
from messaging.ids import id_at, new_id
from messaging.models import (
    Attempt,
    ConsumerState,
    DeadLetter,
    Delivery,
    Message,
    OutboxEntry,
    QuarantinedMessage,
)

RESERVE, CHARGE, MAIL = "inventory.reserve_stock", "billing.charge_card", "notification.send_email"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACEBACK = (
    "Traceback (most recent call last):\n"
    '  File "examples/ecommerce/billing.py", line 88, in charge\n'
    "    raise UnknownCurrency(currency)\n"
    "examples.ecommerce.billing.UnknownCurrency: no minor unit for 'CHF'\n"
)


def id_of(moment: datetime) -> UUID:
    """Return an id that bears this time."""
    return UUID(int=id_at(moment).int | (new_id().int & ((1 << 80) - 1)))


def message(*, age: float = 0, body: bytes | dict[str, Any] = b"{}", **given: Any) -> Message:
    """Store a message published ``age`` seconds ago."""
    at = given.pop("published_at", None) or clock.now() - timedelta(seconds=age)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    identifier = given.pop("id", None) or id_of(at)
    values = {
        "type": "ecommerce.OrderPlaced", "version": 1, "kind": "event", "source": "checkout", "body": raw,
        "content_type": "application/json", "correlation_id": f"flow-{identifier}", "traceparent": TRACEPARENT,
        "occurred_at": at, "published_at": at,
    }  # fmt: skip
    return Message.objects.create(id=identifier, **{**values, **given})


def outbox(of: Message, **given: Any) -> OutboxEntry:
    return OutboxEntry.objects.create(message_id=of.id, type=of.type, key=of.key, created_at=of.published_at, **given)


def delivery(of: Message, consumer: str = RESERVE, *, due_in: float = -1, **given: Any) -> Delivery:
    due = clock.now() + timedelta(seconds=due_in)
    values = {"run": 1, "created_at": of.published_at, "available_at": due}
    return Delivery.objects.create(message_id=of.id, consumer=consumer, **{**values, **given})


def attempt(of: Message, consumer: str = RESERVE, outcome: str = "handled", **given: Any) -> Attempt:
    failed = outcome not in {"handled", "postponed"}
    error = {
        "error_type": "UnknownCurrency", "error_message": "no minor unit for 'CHF'", "traceback": TRACEBACK,
        "location": "examples/ecommerce/billing.py:88 in charge", "fingerprint": "7c1e90b2a4d3f001",
    }  # fmt: skip
    values = {
        "run": 1, "number": 1, "started_at": of.published_at + timedelta(milliseconds=40), "duration_us": 9_000,
        "worker": "worker-07", **(error if failed else {}),
    }  # fmt: skip
    identifier = given.pop("id", None) or id_of(of.published_at + timedelta(milliseconds=40))
    return Attempt.objects.create(
        id=identifier, message_id=of.id, consumer=consumer, outcome=outcome, **{**values, **given}
    )


def dead_letter(of: Message, consumer: str = CHARGE, **given: Any) -> DeadLetter:
    at = given.pop("dead_at", None) or of.published_at + timedelta(milliseconds=50)
    values = {
        "run": 1, "type": of.type, "version": of.version, "key": of.key, "correlation_id": of.correlation_id,
        "reason": "permanent", "attempts": 1, "fingerprint": "7c1e90b2a4d3f001", "error_type": "UnknownCurrency",
        "error_message": "no minor unit for 'CHF'", "location": "examples/ecommerce/billing.py:88 in charge",
        "traceback": TRACEBACK, "dead_at": at, "id": id_of(at),
    }  # fmt: skip
    return DeadLetter.objects.create(message_id=of.id, consumer=consumer, **{**values, **given})


def consumer(name: str, **given: Any) -> ConsumerState:
    values = {"queue": name, "guarantee": "exactly_once", "handler": "shop.handlers.f", "synced_at": clock.now()}
    # The deploy may have written it already, when it is one of the examples' consumers.
    return ConsumerState.objects.update_or_create(name=name, defaults={**values, **given})[0]


def quarantined(raw: bytes = b"\xff\x00<script>alert(1)</script>", **given: Any) -> QuarantinedMessage:
    values = {
        "kind": "quarantined", "source": "import", "reason": "The body is not UTF-8.", "content_type": "text/plain",
        "raw": raw, "body_hash": "0" * 64, "received_at": clock.now(),
    }  # fmt: skip
    return QuarantinedMessage.objects.create(**{**values, **given})
