"""Inventory holds goods for orders and gives them back when they are not paid."""

from __future__ import annotations

from examples.ecommerce.commands import ReleaseStock, ReserveStock, StockHeld, StockRefused, StockReleased
from examples.ecommerce.events import OrderPlaced, PaymentDeclined, StockRejected, StockReserved
from examples.ecommerce.inventory import stock
from examples.ecommerce.inventory.models import Reservation
from messaging import Context, Retry, consumer, publish

RETRY = Retry(immediate=3, delays=("5s", "1m"), permanent=(stock.RetiredSku,))


@consumer(OrderPlaced, name="inventory.reserve_stock", guarantee="exactly_once", retry=RETRY)
def reserve_stock(event: OrderPlaced, context: Context) -> None:
    """Hold the goods of an order, or say that they cannot be had."""
    if Reservation.objects.filter(order_id=event.order_id).exists():
        return  # a replay of what was handled: the goods are held, the rest of the flow went on
    missing = stock.reserve(event.order_id, event.items)
    publish(_rejected(event, missing) if missing else _reserved(event), key=str(event.order_id))


@consumer(PaymentDeclined, name="inventory.release_stock", guarantee="exactly_once", retry=RETRY)
def release_stock(event: PaymentDeclined, context: Context) -> None:
    """Compensate: give back the goods of an order that was not paid."""
    stock.release(event.order_id)


@consumer(ReserveStock, ReleaseStock, name="inventory.serve_saga", guarantee="exactly_once", retry=RETRY)
def serve_saga(command: ReserveStock | ReleaseStock, context: Context) -> None:
    """Do the same for an order that a saga directs: as it asks, with an answer."""
    order_id = command.order_id
    if isinstance(command, ReleaseStock):
        stock.release(order_id)
        publish(StockReleased(order_id=order_id), key=str(order_id))
    elif not Reservation.objects.filter(order_id=order_id).exists():
        missing = stock.reserve(order_id, command.items)
        answer = StockRefused(order_id=order_id, reason=missing) if missing else StockHeld(order_id=order_id)
        publish(answer, key=str(order_id))


def _reserved(event: OrderPlaced) -> StockReserved:
    return StockReserved(
        order_id=event.order_id,
        customer_email=event.customer_email,
        language=event.language,
        card_token=event.card_token,
        total=event.total,
        currency=event.currency,
    )


def _rejected(event: OrderPlaced, missing: str) -> StockRejected:
    return StockRejected(
        order_id=event.order_id,
        customer_email=event.customer_email,
        language=event.language,
        total=event.total,
        currency=event.currency,
        reason=missing,
    )
