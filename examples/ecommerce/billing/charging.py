"""What may happen to a customer's card: charge and refund, by whoever asks for it."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol
from uuid import UUID

from django.utils import timezone

from examples.ecommerce.billing import card_provider
from examples.ecommerce.billing.models import Charge
from messaging import Breaker, Dependency, dependency

PROVIDER = "card-provider"

Dependency(
    PROVIDER,
    # A slow gateway now and then is everyday; half of all calls in a minute is an outage.
    breaker=Breaker(failures=None, rate=0.5, minimum=50, open_for="15s", counts=(card_provider.GatewayTimeout,)),
)


class Payable(Protocol):
    """An event or a command that says what is to be paid."""

    @property
    def order_id(self) -> UUID: ...
    @property
    def card_token(self) -> str: ...
    @property
    def total(self) -> Decimal: ...
    @property
    def currency(self) -> str: ...


def ask_bank(order: Payable, *, attempt: int) -> card_provider.Answer:
    """Charge the card. Asking again charges once.

    Raises:
        UnknownCurrency, GatewayTimeout: see ``card_provider.charge``.
    """
    with dependency(PROVIDER):
        return card_provider.charge(
            token=order.card_token,
            amount=order.total,
            currency=order.currency,
            # Of the order, not of the run: a replay a month later must not charge again either.
            idempotency_key=f"order-{order.order_id}",
            attempt=attempt,
        )


def record(order: Payable, answer: card_provider.Answer) -> None:
    """Keep what the bank said. The caller holds a transaction, in which it tells others too."""
    Charge.objects.create(
        order_id=order.order_id,
        state=Charge.State.CAPTURED if answer.authorization else Charge.State.DECLINED,
        amount=order.total,
        currency=order.currency,
        authorization=answer.authorization,
        decline_reason=answer.decline_reason,
        charged_at=timezone.now(),
    )


def pay_back(order_id: UUID, authorization: str) -> None:
    """Refund a charge. Asking again refunds once."""
    with dependency(PROVIDER):
        card_provider.refund(authorization=authorization, idempotency_key=f"refund-{order_id}")


def record_refund(order_id: UUID) -> bool:
    """Keep that the money went back; False when that is known already. The caller holds a transaction."""
    captured = Charge.objects.filter(order_id=order_id, state=Charge.State.CAPTURED)
    return bool(captured.update(state=Charge.State.REFUNDED, refunded_at=timezone.now()))
