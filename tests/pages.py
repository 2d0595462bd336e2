"""Who looks at a page and what there is to see, for tests of the console's pages."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client

from messaging.models import DeadLetter
from tests import rows

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'>\u202e"
GROUP = "7c1e90b2a4d3f001"
ORDER: dict[str, Any] = {
    "order_id": "018f0000-0000-7000-8000-000000000001", "customer_email": "fay@example.com", "language": "en",
    "card_token": "tok_visa", "items": [{"sku": "TEA-GRN-100", "quantity": 3, "unit_price": "18.80"}],
    "total": "56.40", "currency": "CHF",
}  # fmt: skip


def signed_in(name: str, *codenames: str) -> Client:
    user = User.objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def failed_order(**given: Any) -> DeadLetter:
    """An order that billing could not charge, as the bus leaves it."""
    one = rows.message(body={**ORDER, **given}, type="ecommerce.OrderPlaced", version=2, key="order 7")
    rows.consumer(rows.CHARGE)
    rows.attempt(one, rows.CHARGE, "dead_lettered")
    return rows.dead_letter(one, rows.CHARGE)


def row_ids(response: Any) -> list[str]:
    return re.findall(r'data-row="([^"]+)"', response.content.decode())
