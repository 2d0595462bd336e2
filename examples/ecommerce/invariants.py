"""What must hold in the shop at any moment; ``manage.py verify`` checks it.

This is the auditor's view: the one place that reads the tables of all services. An effect that is still on its
way (a pending delivery, a timeout), or that waits for a person (a dead letter), excuses an order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import connection

from messaging.verification import invariant

_LIMIT = 21

# Orders whose flow has work to do. Every message of the flow bears the order's id as its key.
_EXCUSED = """
    SELECT key FROM messaging_delivery WHERE key IS NOT NULL
    UNION SELECT key FROM messaging_outboxentry WHERE key IS NOT NULL
    UNION SELECT key FROM messaging_scheduledmessage WHERE key IS NOT NULL
    UNION SELECT key FROM messaging_deadletter WHERE key IS NOT NULL AND state <> 'resolved'"""


@invariant("ecommerce: stock is never negative")
def stock_is_never_negative() -> Iterator[str]:
    for sku, available in _rows("SELECT sku, available FROM ecommerce_stockitem WHERE available < 0"):
        yield f"{sku}: {available} available"


@invariant("ecommerce: stock received, less what is held, is available")
def stock_adds_up() -> Iterator[str]:
    query = """
        SELECT s.sku, s.received, s.available, coalesce(h.held, 0) FROM ecommerce_stockitem s
        LEFT JOIN (
            SELECT l.sku, sum(l.quantity) AS held FROM ecommerce_reservationline l
            JOIN ecommerce_reservation r ON r.order_id = l.reservation_id AND r.released_at IS NULL GROUP BY l.sku
        ) h ON h.sku = s.sku
        WHERE s.received - coalesce(h.held, 0) <> s.available"""
    for sku, received, available, held in _rows(query):
        yield f"{sku}: {received} received - {held} held is not {available} available"


@invariant("ecommerce: at most one reservation, one charge and one notification per order")
def effects_happen_once() -> Iterator[str]:
    for table in ("ecommerce_reservation", "ecommerce_charge", "ecommerce_notification"):
        for order, count in _rows(f"SELECT order_id, count(*) FROM {table} GROUP BY order_id HAVING count(*) > 1"):
            yield f"order {order}: {count} rows in {table}"


@invariant("ecommerce: a confirmed order is reserved, charged its total, and notified")
def confirmed_orders_are_complete() -> Iterator[str]:
    query = f"""
        SELECT o.id, r.order_id IS NULL, c.order_id IS NULL, n.order_id IS NULL FROM ecommerce_order o
        LEFT JOIN ecommerce_reservation r ON r.order_id = o.id AND r.released_at IS NULL
        LEFT JOIN ecommerce_charge c ON c.order_id = o.id AND c.state = 'captured' AND c.amount = o.total
        LEFT JOIN ecommerce_notification n ON n.order_id = o.id AND n.kind = 'confirmed'
        WHERE o.state = 'confirmed' AND (r.order_id IS NULL OR c.order_id IS NULL
            OR (n.order_id IS NULL AND {_key("o.id")} NOT IN ({_EXCUSED})))"""
    names = ("reservation", "charge of its total", "notification")
    for order, *missing in _rows(query):
        yield f"order {order}: no {', no '.join(n for n, is_missing in zip(names, missing, strict=True) if is_missing)}"


@invariant("ecommerce: a cancelled order holds no goods and no money, and is notified")
def cancelled_orders_are_undone() -> Iterator[str]:
    query = f"""
        SELECT o.id, c.order_id IS NOT NULL, r.order_id IS NOT NULL, n.order_id IS NULL FROM ecommerce_order o
        LEFT JOIN ecommerce_charge c ON c.order_id = o.id AND c.state = 'captured'
        LEFT JOIN ecommerce_reservation r ON r.order_id = o.id AND r.released_at IS NULL
        LEFT JOIN ecommerce_notification n ON n.order_id = o.id AND n.kind = 'cancelled'
        WHERE o.state = 'cancelled' AND (c.order_id IS NOT NULL AND o.form = 'choreographed'
            OR ((c.order_id IS NOT NULL OR r.order_id IS NOT NULL OR n.order_id IS NULL)
                AND {_key("o.id")} NOT IN ({_EXCUSED})))"""
    names = ("was charged", "still holds goods", "was not notified")
    for order, *wrong in _rows(query):
        yield f"order {order}: {', '.join(n for n, is_wrong in zip(names, wrong, strict=True) if is_wrong)}"


@invariant("ecommerce: every charge is refunded, or its order confirmed")
def charges_are_earned() -> Iterator[str]:
    query = f"""
        SELECT c.order_id, coalesce(o.state, 'unknown') FROM ecommerce_charge c
        LEFT JOIN ecommerce_order o ON o.id = c.order_id
        WHERE c.state = 'captured' AND coalesce(o.state, '') <> 'confirmed' AND {_key("c.order_id")} NOT IN ({_EXCUSED})
        UNION ALL SELECT c.order_id, 'confirmed, but refunded' FROM ecommerce_charge c
        JOIN ecommerce_order o ON o.id = c.order_id WHERE c.state = 'refunded' AND o.state = 'confirmed'"""
    for order, state in _rows(query):
        yield f"order {order} was charged and is {state}"


@invariant("ecommerce: every order is settled, on its way, or waits for a person")
def every_order_gets_somewhere() -> Iterator[str]:
    query = f"SELECT o.id FROM ecommerce_order o WHERE o.state = 'placed' AND {_key('o.id')} NOT IN ({_EXCUSED})"
    for (order,) in _rows(query):
        yield f"order {order} is placed, and nothing of its flow is pending or dead"


def _key(column: str) -> str:
    """Return SQL for the text form of a UUID column; SQLite keeps UUIDs as 32 digits without hyphens."""
    if connection.vendor == "postgresql":
        return f"CAST({column} AS text)"
    parts = (f"substr({column}, {at}, {length})" for at, length in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12)))
    return "(" + " || '-' || ".join(parts) + ")"


def _rows(query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"{query} LIMIT {_LIMIT}")
        return list(cursor.fetchall())
