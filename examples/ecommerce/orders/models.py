from __future__ import annotations

from django.db import models


class Order(models.Model):
    """An order and how far it got. Placed is the only state that another may follow."""

    class State(models.TextChoices):
        PLACED = "placed"
        CONFIRMED = "confirmed"
        CANCELLED = "cancelled"

    class Form(models.TextChoices):
        CHOREOGRAPHED = "choreographed"
        ORCHESTRATED = "orchestrated"

    id = models.UUIDField(primary_key=True, editable=False)
    """Made by the client, so that posting again after a lost connection is harmless."""
    customer_email = models.CharField(max_length=254)
    language = models.CharField(max_length=2)
    items = models.JSONField(default=list)
    total = models.DecimalField(max_digits=12, decimal_places=2)
    currency = models.CharField(max_length=3)
    state = models.CharField(max_length=16, choices=State.choices, default=State.PLACED)
    cancel_reason = models.CharField(max_length=300, blank=True)
    form = models.CharField(
        max_length=16, choices=Form.choices, default=Form.CHOREOGRAPHED, db_default=Form.CHOREOGRAPHED
    )
    """Who leads it to its end: the services by themselves, or a saga."""
    source = models.CharField(max_length=200, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    """Hash of the posted content: the same id with other content is a conflict."""
    placed_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "ecommerce"
        indexes = [
            models.Index(fields=["placed_at"], condition=models.Q(state="placed"), name="order_unsettled"),
        ]
