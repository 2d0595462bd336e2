from __future__ import annotations

from django.db import models


class Appointment(models.Model):
    """An appointment as the patient sees it: how far it got, and the booking that it stands on."""

    class State(models.TextChoices):
        REQUESTED = "requested"
        SCHEDULED = "scheduled"
        CONFIRMED = "confirmed"
        CANCELLING = "cancelling"
        CANCELLED = "cancelled"
        DECLINED = "declined"
        PASSED = "passed"

    id = models.UUIDField(primary_key=True)
    """Made by the client, so that posting again after a lost connection is harmless."""
    digest = models.CharField(max_length=64)
    """Hash of the posted content: the same id with other content is a conflict."""
    flow = models.CharField(max_length=200)
    """Correlation id of the first request; all later ones join its flow."""
    patient = models.CharField(max_length=100)
    phone = models.CharField(max_length=20)
    practitioner = models.CharField(max_length=40)
    room_kind = models.CharField(max_length=40)
    state = models.CharField(max_length=16, choices=State.choices, default=State.REQUESTED)
    booking_id = models.UUIDField(unique=True)
    starts_at = models.DateTimeField()
    room = models.CharField(max_length=40, blank=True)
    wanted_booking_id = models.UUIDField(null=True, unique=True)
    """The booking that is to replace the present one, while it is being arranged."""
    reason = models.CharField(max_length=300, blank=True)
    """Why the last thing asked for was not to be had."""
    source = models.CharField(max_length=50, blank=True)
    requested_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["source", "state"], name="appointment_source_state")]


class RoomBooking(models.Model):
    """A room at one time, held by a booking until it is released."""

    id = models.BigAutoField(primary_key=True)
    room = models.CharField(max_length=40)
    starts_at = models.DateTimeField()
    booking_id = models.UUIDField()
    booked_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["room", "starts_at"], condition=models.Q(released_at=None), name="room_booked_once"
            ),
            models.UniqueConstraint(fields=["booking_id"], name="booking_has_one_room"),
        ]


class AgendaEntry(models.Model):
    """Projection ``agenda``: who is booked when. The constraint would stop a build whose history booked twice."""

    id = models.BigAutoField(primary_key=True)
    generation = models.PositiveIntegerField()
    practitioner = models.CharField(max_length=40)
    starts_at = models.DateTimeField()
    booking_id = models.UUIDField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["generation", "practitioner", "starts_at"], name="practitioner_booked_once")
        ]


class DayUse(models.Model):
    """Projection ``utilisation``: how many slots of a practitioner's day are booked, and how many were given back."""

    id = models.BigAutoField(primary_key=True)
    generation = models.PositiveIntegerField()
    practitioner = models.CharField(max_length=40)
    day = models.DateField()
    booked = models.PositiveIntegerField(default=0)
    given_back = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["generation", "day", "practitioner"], name="practitioner_day_once")
        ]


class TextMessage(models.Model):
    """A text message that the gateway took."""

    reference = models.CharField(primary_key=True, max_length=60)
    """What it tells, and of which booking: the gateway sends each reference once."""
    appointment_id = models.UUIDField()
    phone = models.CharField(max_length=20)
    text = models.CharField(max_length=300)
    sent_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["appointment_id"], name="text_appointment")]
