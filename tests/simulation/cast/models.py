from __future__ import annotations

from typing import ClassVar

from django.db import models


class Booking(models.Model):
    """A producer's own row, saved in the transaction that publishes its message."""

    number = models.PositiveIntegerField(primary_key=True)
    message_id = models.UUIDField()
    objects: ClassVar[models.Manager[Booking]] = models.Manager()

    class Meta:
        app_label = "cast"


class Effect(models.Model):
    """One line for each time a handler did its work; nothing keeps a second line out."""

    consumer = models.CharField(max_length=200)
    message_id = models.UUIDField()
    run = models.PositiveIntegerField()
    at = models.DateTimeField()
    objects: ClassVar[models.Manager[Effect]] = models.Manager()

    class Meta:
        app_label = "cast"


class Sent(models.Model):
    """A client's own row for what a part sends, saved in the transaction that sends it."""

    what = models.CharField(max_length=20)
    number = models.PositiveIntegerField()
    message_id = models.UUIDField()
    at = models.DateTimeField()
    """When it is due, or was sent."""
    objects: ClassVar[models.Manager[Sent]] = models.Manager()

    class Meta:
        app_label = "cast"


class Line(models.Model):
    """A line of somebody's book: what was done about whom; nothing keeps a second one out."""

    about = models.CharField(max_length=50)
    what = models.CharField(max_length=50)
    objects: ClassVar[models.Manager[Line]] = models.Manager()

    class Meta:
        app_label = "cast"
