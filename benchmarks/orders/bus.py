"""The orders as a user of the bus writes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from pydantic import BaseModel

from benchmarks.orders.work import KIND, call_outside, reserve
from messaging import Context, Event, consumer, publish


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


GUARANTEE: Literal["exactly_once", "at_least_once"] = "at_least_once" if KIND == "call" else "exactly_once"


@consumer(OrderPlaced, name="orders.reserve", guarantee=GUARANTEE)
def reserve_order(event: OrderPlaced, context: Context) -> None:
    """Reserve the stock of an order."""
    call_outside()
    if GUARANTEE == "at_least_once":
        with transaction.atomic():
            reserve(event.order_id)
    else:
        reserve(event.order_id)


def publish_order(order: dict[str, Any]) -> None:
    publish(OrderPlaced(**order))
