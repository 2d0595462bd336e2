from __future__ import annotations

from django.db import models


class Order(models.Model):
    """What a shop stores with each order; schema.sql makes the table."""

    id = models.UUIDField(primary_key=True)
    customer = models.TextField()
    total = models.DecimalField(max_digits=10, decimal_places=2)
    items = models.JSONField()

    class Meta:
        managed = False
        db_table = "orders"
