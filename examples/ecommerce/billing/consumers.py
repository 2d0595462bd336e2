"""Billing charges the card once the goods are held."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from examples.ecommerce.billing import card_provider
from examples.ecommerce.billing.models import Charge
from examples.ecommerce.events import PaymentDeclined, PaymentProcessed, StockReserved
from messaging import Breaker, Context, Dependency, Retry, consumer, dependency, publish

Dependency(
    "card-provider",
    # A slow gateway now and then is everyday; half of all calls in a minute is an outage.
    breaker=Breaker(failures=None, rate=0.5, minimum=50, open_for="15s", counts=(card_provider.GatewayTimeout,)),
)


@consumer(
    StockReserved,
    name="billing.charge_card",
    guarantee="at_least_once",  # it calls out, and a call cannot be rolled back
    depends_on=("card-provider",),
    retry=Retry(immediate=2, delays=("5s", "30s", "2m"), permanent=(card_provider.UnknownCurrency,)),
)
def charge_card(event: StockReserved, context: Context) -> None:
    """Charge the customer's card, and tell what the bank said."""
    if Charge.objects.filter(order_id=event.order_id).exists():
        return  # the process died after the commit below and before the bus noted it
    with dependency("card-provider"):
        answer = card_provider.charge(
            token=event.card_token,
            amount=event.total,
            currency=event.currency,
            # Of the order, not of the run: a replay a month later must not charge again either.
            idempotency_key=f"order-{event.order_id}",
            attempt=context.attempt,
        )
    with transaction.atomic():
        _record(event, answer)
        publish(_outcome(event, answer), key=str(event.order_id))


def _record(event: StockReserved, answer: card_provider.Answer) -> None:
    Charge.objects.create(
        order_id=event.order_id,
        state=Charge.State.CAPTURED if answer.authorization else Charge.State.DECLINED,
        amount=event.total,
        currency=event.currency,
        authorization=answer.authorization,
        decline_reason=answer.decline_reason,
        charged_at=timezone.now(),
    )


def _outcome(event: StockReserved, answer: card_provider.Answer) -> PaymentProcessed | PaymentDeclined:
    if answer.authorization:
        return PaymentProcessed(
            order_id=event.order_id,
            customer_email=event.customer_email,
            language=event.language,
            total=event.total,
            currency=event.currency,
            authorization=answer.authorization,
        )
    return PaymentDeclined(
        order_id=event.order_id,
        customer_email=event.customer_email,
        language=event.language,
        total=event.total,
        currency=event.currency,
        reason=answer.decline_reason,
    )
