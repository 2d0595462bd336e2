"""The developers' page: every part in every state, with made-up data."""

from __future__ import annotations

from datetime import timedelta
from math import sin
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET

from console.ui.access import viewer
from console.ui.markup.icons import WORDS
from messaging import clock
from messaging.queries.messages import DeliveryDot
from messaging.queries.pages import CappedCount

MEANINGS = {
    "pending": "not claimed yet",
    "running": "claimed, handler at work",
    "retrying": "failed, tries again at a known time",
    "handled": "settled, effects committed",
    "dead": "needs a person",
    "discarded": "given up on purpose, with a reason",
    "paused": "the consumer is held by a person",
    "scheduled": "due later, a row with a time",
}
NEUTRALS = ("ground", "surface", "inset", "selected", "line", "control", "ink", "ink-2", "ink-3")
BODY = b"""{"id": 90071992547409931,
"customer": {"email": {"__masked__": "e-mail, 21 characters"}, "note": "<b>\\u202e"},
"currency": "CHF", "total": 149.80, "items": [{"sku": "TEA-GRN-100", "quantity": 3}], "gift": null}"""
TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/billing/money.py", line 86, in minor_units
    return MINOR_UNITS[currency]
           ~~~~~~~~~~~^^^^^^^^^^
KeyError: 'CHF'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/venv/lib/python3.11/site-packages/django/db/models/base.py", line 12, in save
    self.save_base()
  File "/srv/venv/lib/python3.11/site-packages/django/db/transaction.py", line 31, in inner
    return func(*args)
  File "/srv/shop/billing/consumers.py", line 31, in charge_card
    amount_of(order)
  File "/srv/shop/billing/money.py", line 88, in minor_units
    raise UnknownCurrency(currency) from missing
billing.errors.UnknownCurrency: no minor unit for 'CHF'
"""


@require_GET
@viewer
def components(request: HttpRequest) -> HttpResponse:
    if not (settings.DEBUG or getattr(request.user, "is_superuser", False)):
        raise Http404
    now = clock.now()
    wave = [20 + 8 * sin(n / 4) for n in range(30)]
    context = {
        "states": [(name, MEANINGS[name]) for name in WORDS],
        "neutrals": NEUTRALS,
        "icons": _icon_names(),
        "id": UUID("01a1eef6-efee-7af2-9cee-c5cf0b15fe17"),
        "now": now,
        "earlier": now - timedelta(hours=2, minutes=43),
        "later": now + timedelta(minutes=9, seconds=56),
        "wave": wave,
        "failures": [0] * 10 + [4, 7, 6, 5, 8, 7, 6, 7, 8, 5] + [0] * 10,
        "nothing": [0] * 30,
        "dots": [DeliveryDot(consumer=f"shop.{name}", status=name) for name in ("handled", "dead", "pending")],
        "capped": CappedCount(value=10_000, is_capped=True),
        "exact": CappedCount(value=2_912, is_capped=False),
        "parts": [("handled", 1431), ("dead", 12), ("running", 10), ("pending", 1187)],
        "body": BODY,
        "hot": ["currency"],
        "traceback": TRACEBACK,
    }
    return render(request, "components/page.html", context)


def _icon_names() -> list[str]:
    sprite = settings.BASE_DIR / "static" / "icons.svg"
    return [part.split('"')[0] for part in sprite.read_text().split('id="i-')[1:]]


urlpatterns = [path("components", components, name="components")]
