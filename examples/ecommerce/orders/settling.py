"""How an order ends, whichever form its flow has. Callers hold a transaction."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol
from uuid import UUID

from django.utils import timezone

from examples.ecommerce.events import OrderCancelled, OrderConfirmed
from examples.ecommerce.orders.models import Order
from messaging import publish


class OrderAlreadySettled(Exception):
    """The order ended the other way before."""


class OrderFacts(Protocol):
    """What is known of an order where it ends: an event, or a saga's data."""

    @property
    def order_id(self) -> UUID: ...
    @property
    def customer_email(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def total(self) -> Decimal: ...
    @property
    def currency(self) -> str: ...


def confirm(facts: OrderFacts) -> None:
    """Confirm an order whose goods are held and paid, and tell everybody, once.

    Raises:
        OrderAlreadySettled: it was cancelled.
    """
    if _settle(facts, Order.State.CONFIRMED):
        confirmed = OrderConfirmed(
            order_id=facts.order_id,
            customer_email=facts.customer_email,
            language=facts.language,
            total=facts.total,
            currency=facts.currency,
        )
        publish(confirmed, key=str(facts.order_id))


def cancel(facts: OrderFacts, *, reason: str) -> None:
    """Cancel an order that cannot be had or was not paid, and tell everybody, once.

    Raises:
        OrderAlreadySettled: it was confirmed.
    """
    if _settle(facts, Order.State.CANCELLED, reason):
        cancelled = OrderCancelled(
            order_id=facts.order_id, customer_email=facts.customer_email, language=facts.language, reason=reason
        )
        publish(cancelled, key=str(facts.order_id))


def _settle(facts: OrderFacts, state: Order.State, reason: str = "") -> bool:
    """Move the order to its final state; False when it is there already (the message was replayed)."""
    now = timezone.now()
    is_settled = Order.objects.filter(id=facts.order_id, state=Order.State.PLACED).update(
        state=state, cancel_reason=reason[:300], settled_at=now
    )
    if is_settled:
        return True
    order = Order.objects.filter(id=facts.order_id).first()
    if order is None:
        _record_outside_order(facts, state, reason)
        return True
    if order.state != state:
        raise OrderAlreadySettled(f"Order {order.id} is {order.state}, it cannot be {state} any more.")
    return False


def _record_outside_order(facts: OrderFacts, state: Order.State, reason: str) -> None:
    """Keep an order that came in as an event (another shop front, a recorded file) once its outcome is known."""
    now = timezone.now()
    Order.objects.create(
        id=facts.order_id,
        customer_email=facts.customer_email,
        language=facts.language,
        total=facts.total,
        currency=facts.currency,
        state=state,
        cancel_reason=reason[:300],
        source="outside",
        placed_at=now,
        settled_at=now,
    )
