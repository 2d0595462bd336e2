"""Notification tells the customer how the order ended."""

from __future__ import annotations

from django.utils import timezone

from examples.ecommerce.events import OrderCancelled, OrderConfirmed
from examples.ecommerce.notification.models import Notification
from messaging import Context, Retry, consumer

SUBJECTS = {
    "en": {"confirmed": "Your order is confirmed", "cancelled": "Your order was cancelled"},
    "de": {"confirmed": "Ihre Bestellung ist bestätigt", "cancelled": "Ihre Bestellung wurde storniert"},
    "fr": {"confirmed": "Votre commande est confirmée", "cancelled": "Votre commande a été annulée"},
}


@consumer(
    OrderConfirmed,
    OrderCancelled,
    name="notification.send_email",
    guarantee="exactly_once",
    retry=Retry(immediate=1, delays=("5s", "20s")),
)
def send_email(event: OrderConfirmed | OrderCancelled, context: Context) -> None:
    """Send one mail per order; the row is the mail in this example."""
    if Notification.objects.filter(order_id=event.order_id).exists():
        return
    kind = "confirmed" if isinstance(event, OrderConfirmed) else "cancelled"
    # A bug on purpose: nobody wrote the Italian subjects, so that an order in "it" fails here with a KeyError.
    subject = SUBJECTS[event.language][kind]
    Notification.objects.create(
        order_id=event.order_id, kind=kind, recipient=event.customer_email, subject=subject, sent_at=timezone.now()
    )
