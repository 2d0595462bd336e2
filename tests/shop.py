"""Orders for tests, and a look at what became of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.test import Client

from examples.ecommerce.traffic import Draft, OrderMaker
from messaging.models import Delivery
from messaging.queries.dead_letters import DeadLetterFilter, DeadLetterRow, list_dead_letters
from messaging.testing import run_until_idle


def draft(failure: str = "", *, number: int = 1, **changes: Any) -> Draft:
    """Return an order that succeeds, or fails in a way named in ``traffic.FAILURES``."""
    return {**OrderMaker(seed=1).draft(number, failure=failure), **changes}


def post(order: Draft) -> UUID:
    """Post an order to the shop as its client does; return its id."""
    response = Client().post("/shop/orders", order, content_type="application/json")
    assert response.status_code == 201, response.content
    return UUID(response.json()["order_id"])


def state_of(order_id: UUID) -> str:
    return str(Client().get(f"/shop/orders/{order_id}").json()["state"])


def let_retries_come_due() -> None:
    """Deliver until nothing is left, delayed retries included, as if their time had come."""
    run_until_idle()
    while waiting := Delivery.objects.order_by("created_at").first():
        Delivery.objects.update(available_at=waiting.created_at)
        run_until_idle()


def dead_letters(order_id: UUID) -> list[DeadLetterRow]:
    """Return the unresolved dead letters of an order's flow."""
    return list(list_dead_letters(DeadLetterFilter(key=str(order_id))).rows)
