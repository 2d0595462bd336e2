"""The facts that the shop's services tell each other.

Every event carries what its readers need (event-carried state), so that no service reads another's tables.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from messaging import Event, upcast
from messaging.contracts import Sensitive

Email = Annotated[str, Field(pattern=r"^[^@\s\x00]+@[^@\s\x00]+$", max_length=254), Sensitive("e-mail")]
Language = Annotated[str, Field(pattern=r"^[a-z]{2}$")]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Amount = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)]
CardToken = Annotated[str, Field(pattern=r"^tok_[a-z_]{1,60}$"), Sensitive("card token")]


class Item(BaseModel):
    """One line of an order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sku: Annotated[str, Field(pattern=r"^[A-Z0-9-]{1,40}$")]
    quantity: Annotated[int, Field(ge=1, le=100)]
    unit_price: Amount


Items = Annotated[list[Item], Field(min_length=1, max_length=50)]


class OrderPlaced(Event, version=2):
    """A customer placed an order; nothing is reserved or paid yet."""

    order_id: UUID
    customer_email: Email
    language: Language = "en"
    card_token: CardToken
    items: Items
    total: Amount
    currency: Currency


@upcast(OrderPlaced, from_version=1)
def add_currency(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 was written when the shop sold in euros only."""
    return {"currency": "EUR", **data}


class OrderSubmitted(Event, version=1):
    """A customer placed an order that a saga directs (`OrderFulfilment`); nothing is reserved or paid yet."""

    order_id: UUID
    customer_email: Email
    language: Language = "en"
    card_token: CardToken
    items: Items
    total: Amount
    currency: Currency


class StockReserved(Event, version=1):
    """The goods of an order are held for it."""

    order_id: UUID
    customer_email: Email
    language: Language
    card_token: CardToken
    total: Amount
    currency: Currency


class StockRejected(Event, version=1):
    """The goods of an order cannot be had; nothing is held."""

    order_id: UUID
    customer_email: Email
    language: Language
    total: Amount
    currency: Currency
    reason: str


class PaymentProcessed(Event, version=1):
    """The customer's card was charged."""

    order_id: UUID
    customer_email: Email
    language: Language
    total: Amount
    currency: Currency
    authorization: str


class PaymentDeclined(Event, version=1):
    """The customer's bank refused the payment; nothing was charged."""

    order_id: UUID
    customer_email: Email
    language: Language
    total: Amount
    currency: Currency
    reason: str


class OrderConfirmed(Event, version=1):
    """Goods are held and paid: the order will be shipped."""

    order_id: UUID
    customer_email: Email
    language: Language
    total: Amount
    currency: Currency


class OrderCancelled(Event, version=1):
    """The order ended without goods and without payment."""

    order_id: UUID
    customer_email: Email
    language: Language
    reason: str
