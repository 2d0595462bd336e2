from __future__ import annotations

from django.db import models


class Warehouse(models.Model):
    """One row, locked before any stock changes.

    A worker reserves for many orders in one transaction. Without this lock two of them would take the same
    SKUs in different order and wait for each other until PostgreSQL ends one.
    """

    name = models.CharField(primary_key=True, max_length=40)

    class Meta:
        app_label = "ecommerce"


class StockItem(models.Model):
    """What lies on the shelf and may still be promised."""

    sku = models.CharField(primary_key=True, max_length=40)
    received = models.PositiveBigIntegerField()
    """All that was ever put on the shelf."""
    available = models.PositiveBigIntegerField()  # the column refuses to go below zero
    """Received, less what is held for orders."""
    restock_to = models.PositiveBigIntegerField(default=0)
    replaced_by = models.CharField(max_length=40, blank=True)
    """Set when the article is retired: no longer sold, this one is instead."""

    class Meta:
        app_label = "ecommerce"


class Reservation(models.Model):
    """The goods held for one order, until they are released."""

    order_id = models.UUIDField(primary_key=True)
    reserved_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "ecommerce"


class ReservationLine(models.Model):
    """So many of one article, held by a reservation."""

    reservation = models.ForeignKey(Reservation, on_delete=models.CASCADE, related_name="lines")
    sku = models.CharField(max_length=40)
    quantity = models.PositiveIntegerField()

    class Meta:
        app_label = "ecommerce"
        constraints = [models.UniqueConstraint(fields=["reservation", "sku"], name="reservation_line_once")]
