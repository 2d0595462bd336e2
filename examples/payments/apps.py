from __future__ import annotations

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    """Payments with a ledger in strict order per account (R3); see docs/flows/payments.md."""

    name = "examples.payments"
    default_auto_field = "django.db.models.BigAutoField"
