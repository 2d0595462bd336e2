"""The order service reacts to what inventory and billing tell."""

from __future__ import annotations

from django.utils import timezone

from examples.ecommerce.events import (
    OrderCancelled,
    OrderConfirmed,
    PaymentDeclined,
    PaymentProcessed,
    StockRejected,
)
from examples.ecommerce.orders.models import Order
from messaging import Context, Retry, consumer, publish

QUICK = Retry(immediate=3, delays=("5s", "1m"))


class OrderAlreadySettled(Exception):
    """The order ended the other way before."""


@consumer(PaymentProcessed, name="orders.confirm_order", retry=QUICK)
def confirm_order(event: PaymentProcessed, context: Context) -> None:
    """Confirm an order whose goods are held and paid."""
    if not _settle(event, Order.State.CONFIRMED):
        return
    publish(
        OrderConfirmed(
            order_id=event.order_id,
            customer_email=event.customer_email,
            language=event.language,
            total=event.total,
            currency=event.currency,
        ),
        key=str(event.order_id),
    )


@consumer(StockRejected, PaymentDeclined, name="orders.cancel_order", retry=QUICK)
def cancel_order(event: StockRejected | PaymentDeclined, context: Context) -> None:
    """Cancel an order that cannot be had or was not paid."""
    if not _settle(event, Order.State.CANCELLED, reason=event.reason):
        return
    publish(
        OrderCancelled(
            order_id=event.order_id,
            customer_email=event.customer_email,
            language=event.language,
            reason=event.reason,
        ),
        key=str(event.order_id),
    )


def _settle(event: PaymentProcessed | StockRejected | PaymentDeclined, state: Order.State, reason: str = "") -> bool:
    """Move the order to its final state; False when it is there already (the message was replayed)."""
    now = timezone.now()
    is_settled = Order.objects.filter(id=event.order_id, state=Order.State.PLACED).update(
        state=state, cancel_reason=reason[:300], settled_at=now
    )
    if is_settled:
        return True
    order = Order.objects.filter(id=event.order_id).first()
    if order is None:
        _record_outside_order(event, state, reason)
        return True
    if order.state != state:
        raise OrderAlreadySettled(f"Order {order.id} is {order.state}, {type(event).__name__} came too late.")
    return False


def _record_outside_order(
    event: PaymentProcessed | StockRejected | PaymentDeclined, state: Order.State, reason: str
) -> None:
    """Keep an order that came in as an event (another shop front, a recorded file) once its outcome is known."""
    now = timezone.now()
    Order.objects.create(
        id=event.order_id,
        customer_email=event.customer_email,
        language=event.language,
        total=event.total,
        currency=event.currency,
        state=state,
        cancel_reason=reason[:300],
        source="outside",
        placed_at=now,
        settled_at=now,
    )
