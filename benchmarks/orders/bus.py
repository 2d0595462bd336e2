"""The orders as a user of the bus writes them."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from pydantic import BaseModel

from benchmarks.orders.work import KIND, call_outside, notice, reserve, reserve_many
from messaging import Batch, BatchContext, Context, Event, consumer, publish, publish_many


class Line(BaseModel):
    sku: str
    name: str
    quantity: int
    price: Decimal


class OrderPlaced(Event, version=1):
    """A customer placed an order."""

    order_id: UUID
    customer: str
    total: Decimal
    items: tuple[Line, ...]


CONSUMERS = int(os.environ.get("BENCH_CONSUMERS", "1"))
IS_BATCH = os.environ.get("BENCH_CONSUMER_KIND") == "batch"
GUARANTEE: Literal["exactly_once", "at_least_once"] = "at_least_once" if KIND == "call" else "exactly_once"


def reserve_order(event: OrderPlaced, context: Context) -> None:
    """Reserve the stock of an order."""
    call_outside()
    if GUARANTEE == "at_least_once":
        with transaction.atomic():
            reserve(event.order_id)
    else:
        reserve(event.order_id)


def reserve_orders(events: list[OrderPlaced], context: BatchContext) -> None:
    """Reserve the stock of many orders with one statement."""
    reserve_many([event.order_id for event in events])


if IS_BATCH:
    consumer(OrderPlaced, name="orders.reserve", batch=Batch(size=100, seconds=0.05))(reserve_orders)
else:
    consumer(OrderPlaced, name="orders.reserve", guarantee=GUARANTEE)(reserve_order)


def notice_order(event: OrderPlaced, context: Context) -> None:
    """Take notice of an order, as one of many consumers."""
    notice(int(context.consumer.rpartition("_")[2]), event.order_id)


for number in range(1, CONSUMERS):
    consumer(OrderPlaced, name=f"orders.notice_{number}")(notice_order)


def event_of(order: dict[str, Any]) -> OrderPlaced:
    return OrderPlaced(**order)


def publish_order(order: dict[str, Any]) -> None:
    publish(event_of(order))


def publish_orders(orders: list[dict[str, Any]]) -> None:
    """Publish several with one statement."""
    publish_many([event_of(order) for order in orders])
