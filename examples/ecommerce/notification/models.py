from __future__ import annotations

from django.db import models


class Notification(models.Model):
    """A mail that was sent: one per order, about how it ended."""

    order_id = models.UUIDField(primary_key=True)
    kind = models.CharField(max_length=16)
    recipient = models.CharField(max_length=254)
    subject = models.CharField(max_length=200)
    sent_at = models.DateTimeField()

    class Meta:
        app_label = "ecommerce"
