"""procrastinate: a job deferred in the same PostgreSQL transaction."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from procrastinate.contrib.django import app

from benchmarks.orders.work import call_outside, reserve


@app.task(name="reserve")
def reserve_order(order: dict[str, Any]) -> None:
    call_outside()
    with transaction.atomic():
        reserve(order["order_id"])


def publish_order(order: dict[str, Any]) -> None:
    reserve_order.defer(order=order)
