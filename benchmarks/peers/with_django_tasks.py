"""django-tasks with its database backend: a row in the same transaction."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django_tasks import task

from benchmarks.orders.work import call_outside, reserve


@task()
def reserve_order(order: dict[str, Any]) -> None:
    call_outside()
    with transaction.atomic():
        reserve(order["order_id"])


def publish_order(order: dict[str, Any]) -> None:
    reserve_order.enqueue(order)
