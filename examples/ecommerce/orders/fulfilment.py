"""The order flow in its orchestrated form: one saga knows the way, inventory and billing do what it asks."""

from __future__ import annotations

from uuid import UUID

from examples.ecommerce.commands import (
    CardCharged,
    CardRefunded,
    CardRefused,
    ChargeCard,
    RefundCard,
    ReleaseStock,
    ReserveStock,
    StockHeld,
    StockRefused,
    StockReleased,
)
from examples.ecommerce.events import Amount, CardToken, Currency, Email, Language, OrderSubmitted
from examples.ecommerce.orders.consumers import QUICK
from examples.ecommerce.orders.settling import cancel, confirm
from messaging import Command, Saga, SagaData, State, Step, entering, on, send, starts, timeout

PATIENCE = "15m"


class FulfilmentData(SagaData):
    order_id: UUID
    customer_email: Email
    language: Language
    card_token: CardToken
    total: Amount
    currency: Currency
    reason: str = ""
    """Why the order is cancelled."""


class OrderFulfilment(
    Saga[FulfilmentData], correlation="order_id", name="orders.OrderFulfilment", retry=QUICK
):  # fmt: skip
    """Hold the goods, charge the card, confirm; give back what was taken when that fails or takes too long."""

    awaiting_stock = State()
    awaiting_payment = State()
    confirmed = State(final=True)
    cancelled = State(final=True)

    stock = Step(undone_by=StockReleased)
    payment = Step(undone_by=CardRefunded)

    @starts(OrderSubmitted, to=awaiting_stock)
    def reserve(self, event: OrderSubmitted) -> None:
        self.data = FulfilmentData(**event.model_dump(exclude={"items"}))
        self._ask(ReserveStock(order_id=event.order_id, items=event.items))

    @on(StockHeld, at=awaiting_stock, to=awaiting_payment, completes=stock)
    def charge(self, event: StockHeld) -> None:
        data = self.data
        self._ask(
            ChargeCard(
                order_id=data.order_id, card_token=data.card_token, total=data.total, currency=data.currency
            )
        )  # fmt: skip

    @on(CardCharged, at=awaiting_payment, to=confirmed, completes=payment)
    def paid(self, event: CardCharged) -> None: ...

    # A refusal that comes after the saga lost its patience changes nothing: it is cancelled.
    @on(StockRefused, at=awaiting_stock, to=cancelled, wrong_state="ignore")
    def sold_out(self, event: StockRefused) -> None:
        self.data.reason = event.reason

    @on(CardRefused, at=awaiting_payment, to=cancelled, compensates=True, wrong_state="ignore")
    def declined(self, event: CardRefused) -> None:
        self.data.reason = event.reason

    @timeout(PATIENCE, at=(awaiting_stock, awaiting_payment), to=cancelled, compensates=True)
    def too_slow(self) -> None:
        waited_for = "the goods" if self.state == "awaiting_stock" else "the payment"
        self.data.reason = f"no answer about {waited_for} within {PATIENCE}"

    @stock.undo
    def release(self) -> None:
        self._ask(ReleaseStock(order_id=self.data.order_id))

    @payment.undo
    def refund(self, done: CardCharged) -> None:
        self._ask(RefundCard(order_id=done.order_id, authorization=done.authorization))

    @entering(confirmed)
    def confirm(self) -> None:
        confirm(self.data)

    @entering(cancelled)
    def cancel(self) -> None:
        cancel(self.data, reason=self.data.reason or "cancelled by hand")

    def _ask(self, command: Command) -> None:
        send(command, key=self.data.order_id)
