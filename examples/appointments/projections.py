"""Tables derived from the practitioners' days. They may be late; what decides is the stream."""

from __future__ import annotations

from datetime import date

from django.db.models import F, Sum

from examples.appointments.calendar import CATEGORY, SLOTS_A_DAY
from examples.appointments.events import SlotBooked, SlotReleased
from examples.appointments.models import AgendaEntry, DayUse
from messaging import eventstore


def _forget_agenda(generation: int) -> None:
    AgendaEntry.objects.filter(generation=generation).delete()


@eventstore.projection(SlotBooked, SlotReleased, category=CATEGORY, forget=_forget_agenda)
def agenda(event: SlotBooked | SlotReleased, applied: eventstore.Applied) -> None:
    """Who is booked with which practitioner, and when."""
    place = {
        "generation": applied.generation, "practitioner": event.practitioner, "starts_at": event.starts_at,
        "booking_id": event.booking_id,
    }  # fmt: skip
    if isinstance(event, SlotBooked):
        AgendaEntry.objects.create(**place)
    else:
        AgendaEntry.objects.filter(**place).delete()


def _forget_utilisation(generation: int) -> None:
    DayUse.objects.filter(generation=generation).delete()


@eventstore.projection(SlotBooked, SlotReleased, category=CATEGORY, forget=_forget_utilisation)
def utilisation(event: SlotBooked | SlotReleased, applied: eventstore.Applied) -> None:
    """How full each practitioner's days are. Added when the clinic had a history already, and built from that."""
    is_booked = isinstance(event, SlotBooked)
    day, _ = DayUse.objects.get_or_create(
        generation=applied.generation, practitioner=event.practitioner, day=event.starts_at.date()
    )
    # Events of one day come one after another, so that nothing is counted twice; days do not share a row.
    DayUse.objects.filter(id=day.id).update(
        booked=F("booked") + (1 if is_booked else -1), given_back=F("given_back") + (0 if is_booked else 1)
    )


def used_share(day: date) -> float:
    """Return which share of a day's slots is booked, over the practitioners who have any of that day; 0 to 1."""
    days = DayUse.objects.filter(generation=utilisation.generation, day=day)
    practitioners = days.count()
    booked = days.aggregate(booked=Sum("booked"))["booked"] or 0
    return booked / (practitioners * SLOTS_A_DAY) if practitioners else 0.0
