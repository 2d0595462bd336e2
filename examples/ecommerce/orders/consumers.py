"""The order service reacts to what inventory and billing tell."""

from __future__ import annotations

from examples.ecommerce.events import PaymentDeclined, PaymentProcessed, StockRejected
from examples.ecommerce.orders.settling import cancel, confirm
from messaging import Context, Retry, consumer

QUICK = Retry(immediate=3, delays=("5s", "1m"))


@consumer(PaymentProcessed, name="orders.confirm_order", retry=QUICK)
def confirm_order(event: PaymentProcessed, context: Context) -> None:
    """Confirm an order whose goods are held and paid."""
    confirm(event)


@consumer(StockRejected, PaymentDeclined, name="orders.cancel_order", retry=QUICK)
def cancel_order(event: StockRejected | PaymentDeclined, context: Context) -> None:
    """Cancel an order that cannot be had or was not paid."""
    cancel(event, reason=event.reason)
