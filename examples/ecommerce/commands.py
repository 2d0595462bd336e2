"""What the saga of an orchestrated order asks of inventory and billing, and what they answer.

A command carries what its handler needs, an answer only what is new: the saga remembers the rest.
"""

from __future__ import annotations

from uuid import UUID

from examples.ecommerce.events import Amount, CardToken, Currency, Items
from messaging import Command, Event


class ReserveStock(Command, version=1):
    """Hold the goods of an order."""

    order_id: UUID
    items: Items


class StockHeld(Event, version=1):
    """The goods of an order are held, as its saga asked."""

    order_id: UUID


class StockRefused(Event, version=1):
    """The goods of an order cannot be had; nothing is held."""

    order_id: UUID
    reason: str


class ReleaseStock(Command, version=1):
    """Give the goods of an order back."""

    order_id: UUID


class StockReleased(Event, version=1):
    """Nothing is held for an order any more."""

    order_id: UUID


class ChargeCard(Command, version=1):
    """Charge the customer's card with an order's total."""

    order_id: UUID
    card_token: CardToken
    total: Amount
    currency: Currency


class CardCharged(Event, version=1):
    """The customer's card was charged, as the order's saga asked."""

    order_id: UUID
    authorization: str


class CardRefused(Event, version=1):
    """The customer's bank refused the payment; nothing was charged."""

    order_id: UUID
    reason: str


class RefundCard(Command, version=1):
    """Pay an order's charge back."""

    order_id: UUID
    authorization: str


class CardRefunded(Event, version=1):
    """The customer has the money of an order back."""

    order_id: UUID
