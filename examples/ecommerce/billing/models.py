from __future__ import annotations

from django.db import models


class Charge(models.Model):
    """What the card provider answered for one order."""

    class State(models.TextChoices):
        CAPTURED = "captured"
        DECLINED = "declined"
        REFUNDED = "refunded"

    order_id = models.UUIDField(primary_key=True)
    state = models.CharField(max_length=16, choices=State.choices)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    currency = models.CharField(max_length=3)
    authorization = models.CharField(max_length=40, blank=True)
    decline_reason = models.CharField(max_length=200, blank=True)
    charged_at = models.DateTimeField()
    refunded_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "ecommerce"
