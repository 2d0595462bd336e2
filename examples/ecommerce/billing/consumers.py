"""Billing charges the card once the goods are held."""

from __future__ import annotations

from django.db import transaction

from examples.ecommerce.billing import card_provider, charging
from examples.ecommerce.billing.models import Charge
from examples.ecommerce.commands import CardCharged, CardRefunded, CardRefused, ChargeCard, RefundCard
from examples.ecommerce.events import PaymentDeclined, PaymentProcessed, StockReserved
from messaging import Context, Retry, consumer, publish

RETRY = Retry(immediate=2, delays=("5s", "30s", "2m"), permanent=(card_provider.UnknownCurrency,))


@consumer(
    StockReserved,
    name="billing.charge_card",
    guarantee="at_least_once",  # it calls out, and a call cannot be rolled back
    depends_on=(charging.PROVIDER,),
    retry=RETRY,
)
def charge_card(event: StockReserved, context: Context) -> None:
    """Charge the customer's card, and tell what the bank said."""
    if Charge.objects.filter(order_id=event.order_id).exists():
        return  # the process died after the commit below and before the bus noted it
    answer = charging.ask_bank(event, attempt=context.attempt)
    with transaction.atomic():
        charging.record(event, answer)
        publish(_outcome(event, answer), key=str(event.order_id))


@consumer(
    ChargeCard,
    RefundCard,
    name="billing.serve_saga",
    guarantee="at_least_once",
    depends_on=(charging.PROVIDER,),
    retry=RETRY,
)
def serve_saga(command: ChargeCard | RefundCard, context: Context) -> None:
    """Charge, or pay back, for an order that a saga directs: as it asks, with an answer."""
    if isinstance(command, RefundCard):
        _refund(command)
    elif not Charge.objects.filter(order_id=command.order_id).exists():
        said = charging.ask_bank(command, attempt=context.attempt)
        with transaction.atomic():
            charging.record(command, said)
            publish(_answer(command, said), key=str(command.order_id))


def _refund(command: RefundCard) -> None:
    charging.pay_back(command.order_id, command.authorization)
    with transaction.atomic():
        if charging.record_refund(command.order_id):
            publish(CardRefunded(order_id=command.order_id), key=str(command.order_id))


def _answer(command: ChargeCard, said: card_provider.Answer) -> CardCharged | CardRefused:
    if said.authorization:
        return CardCharged(order_id=command.order_id, authorization=said.authorization)
    return CardRefused(order_id=command.order_id, reason=said.decline_reason)


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
