"""dramatiq on Redis: a message sent on commit."""

from __future__ import annotations

import os
from typing import Any

import django
import dramatiq
from django.apps import apps
from django.db import transaction
from dramatiq.brokers.redis import RedisBroker

from benchmarks.orders.work import call_outside, reserve

if not apps.ready:  # the worker's command line knows no Django
    django.setup()
dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))


@dramatiq.actor
def reserve_order(order: dict[str, Any]) -> None:
    call_outside()
    with transaction.atomic():
        reserve(order["order_id"])


def publish_order(order: dict[str, Any]) -> None:
    transaction.on_commit(lambda: reserve_order.send(order))
