"""What an order is, and what handling one does: the same code and statements for every system."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django.db import connection

if TYPE_CHECKING:
    from benchmarks.orders.models import Order

KIND = os.environ.get("BENCH_HANDLER", "insert")
"""insert: one INSERT. contended: also an UPDATE of one of ten rows. call: 5 ms elsewhere, then the INSERT."""
CALL_SECONDS = 0.005
STOCK_ROWS = 10
RESERVE = (
    "INSERT INTO reservations (order_id) VALUES (%s) ON CONFLICT (order_id) DO UPDATE SET runs = reservations.runs + 1"
)
RESERVE_MANY = (  # all at one moment, or the first batch would count as work of the time that it began
    "WITH moment AS (SELECT clock_timestamp() AS at)"
    " INSERT INTO reservations (order_id, created_at) SELECT unnest(%s::uuid[]), at FROM moment"
    " ON CONFLICT (order_id) DO UPDATE SET runs = reservations.runs + 1"
)
NOTICE = (
    "INSERT INTO notices (consumer, order_id) VALUES (%s, %s)"
    " ON CONFLICT (consumer, order_id) DO UPDATE SET runs = notices.runs + 1"
)
TAKE_STOCK = "UPDATE stock SET reserved = reserved + 1 WHERE sku = %s"


def new_order(number: int) -> dict[str, Any]:
    """Return an order with about 600 bytes of items."""
    return {
        "order_id": str(uuid4()),
        "customer": f"customer-{number % 500}",
        "total": "75.00",
        "items": [
            {
                "sku": f"SKU-{(number * 7 + line) % 9973:06d}",
                "name": f"Article number {line} of the order",
                "quantity": line + 1,
                "price": "12.50",
            }
            for line in range(6)
        ],
    }


def store_order(order: dict[str, Any]) -> None:
    row_of(order).save(force_insert=True)


def store_orders(orders: list[dict[str, Any]]) -> None:
    """Store several with one statement."""
    from benchmarks.orders.models import Order

    Order._default_manager.bulk_create([row_of(order) for order in orders])


def row_of(order: dict[str, Any]) -> Order:
    from benchmarks.orders.models import Order

    return Order(id=UUID(order["order_id"]), customer=order["customer"], total=order["total"], items=order["items"])


def reserve(order_id: str | UUID) -> None:
    """Do what the handler of one order does to the database. Runs in the caller's transaction."""
    with connection.cursor() as cursor:
        if KIND == "contended":
            cursor.execute(TAKE_STOCK, [UUID(str(order_id)).int % STOCK_ROWS])
        cursor.execute(RESERVE, [str(order_id)])  # SQLite knows no UUID


def notice(consumer: int, order_id: UUID) -> None:
    """Do what a further consumer of the order does."""
    with connection.cursor() as cursor:
        cursor.execute(NOTICE, [consumer, order_id])


def reserve_many(order_ids: list[UUID]) -> None:
    """Do the same for many orders with one statement, as a handler that gets a batch would."""
    with connection.cursor() as cursor:
        cursor.execute(RESERVE_MANY, [order_ids])


def call_outside() -> None:
    """Stand for a request to another service."""
    if KIND == "call":
        time.sleep(CALL_SECONDS)
