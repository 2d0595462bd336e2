"""Taking an order, in either form: the order and its event are saved in one transaction, or neither is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field

from examples.ecommerce.events import (
    Amount,
    CardToken,
    Currency,
    Email,
    Item,
    Items,
    Language,
    OrderPlaced,
    OrderSubmitted,
)
from examples.ecommerce.orders.models import Order
from messaging import publish
from messaging.ids import new_id

LARGEST_TOTAL = Decimal("9999999999.99")


class NewOrder(BaseModel):
    """What a client posts. The total is computed here, never believed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order_id: Annotated[UUID, Field(default_factory=new_id)]
    customer_email: Email
    language: Language = "en"
    card_token: CardToken
    items: Items
    currency: Currency
    form: Literal["choreographed", "orchestrated"] = "choreographed"

    @property
    def total(self) -> Amount:
        return sum((item.unit_price * item.quantity for item in self.items), Decimal(0))

    @property
    def digest(self) -> str:
        # Orders from before there were two forms keep their digest.
        ignored = {"form"} if self.form == "choreographed" else None
        return hashlib.sha256(self.model_dump_json(exclude=ignored).encode()).hexdigest()


class OrderConflict(Exception):
    """An order of this id exists with other content."""


class OrderTooLarge(Exception):
    """The order's total is more than the shop can charge."""


@dataclass(frozen=True)
class Placed:
    order: Order
    is_new: bool


def place_order(new: NewOrder, *, source: str = "") -> Placed:
    """Save the order and publish OrderPlaced or OrderSubmitted; an order that was taken before is returned as it is.

    Raises:
        OrderConflict: the id was used for another order.
        OrderTooLarge: the total exceeds LARGEST_TOTAL.
    """
    if new.total > LARGEST_TOTAL:
        raise OrderTooLarge
    existing = Order.objects.filter(id=new.order_id).first()
    if existing is None:
        try:
            return Placed(order=_save_and_publish(new, source), is_new=True)
        except IntegrityError:  # the same order, posted twice at once: the other one won
            existing = Order.objects.filter(id=new.order_id).first()
            if existing is None:
                raise
    if existing.digest != new.digest:
        raise OrderConflict
    return Placed(order=existing, is_new=False)


def _save_and_publish(new: NewOrder, source: str) -> Order:
    with transaction.atomic():
        order = Order.objects.create(
            id=new.order_id,
            customer_email=new.customer_email,
            language=new.language,
            items=[item.model_dump(mode="json") for item in new.items],
            total=new.total,
            currency=new.currency,
            form=new.form,
            source=source,
            digest=new.digest,
            placed_at=timezone.now(),
        )
        publish(_event(new), key=str(order.id), source=source or None)
    return order


def _event(new: NewOrder) -> OrderPlaced | OrderSubmitted:
    model = OrderSubmitted if new.form == "orchestrated" else OrderPlaced
    return model(
        order_id=new.order_id,
        customer_email=new.customer_email,
        language=new.language,
        card_token=new.card_token,
        items=list(new.items),
        total=new.total,
        currency=new.currency,
    )


__all__ = ["Item", "NewOrder", "OrderConflict", "OrderTooLarge", "Placed", "place_order"]
