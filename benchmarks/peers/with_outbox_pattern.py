"""django-outbox-pattern: rows, a publish command, RabbitMQ over STOMP, a subscribe command."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from benchmarks.orders.work import call_outside, reserve

DESTINATION, QUEUE = "/exchange/amq.direct/orders.v1", "orders"


def publish_order(order: dict[str, Any]) -> None:
    from django_outbox_pattern.models import Published

    Published.objects.create(destination=DESTINATION, body=order)


def on_order(payload: Any) -> None:
    call_outside()
    with transaction.atomic():
        reserve(payload.body["order_id"])
        payload.save()
