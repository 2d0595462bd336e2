from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Trip(models.Model):
    """A booking: saved in the transaction that publishes it."""

    number = models.PositiveIntegerField(primary_key=True)
    kind = models.CharField(max_length=16)
    message_id = models.UUIDField()
    objects: ClassVar[models.Manager[Trip]] = models.Manager()

    class Meta:
        app_label = "journey"


class Effect(models.Model):
    """One line for each time a handler did its work; nothing keeps a second line out."""

    consumer = models.CharField(max_length=200)
    message_id = models.UUIDField()
    run = models.PositiveIntegerField()
    done_at = models.DateTimeField(db_default=Now())
    objects: ClassVar[models.Manager[Effect]] = models.Manager()

    class Meta:
        app_label = "journey"
