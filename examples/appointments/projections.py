"""Tables derived from the practitioners' days. They may be late; what decides is the stream."""

from __future__ import annotations

from examples.appointments.calendar import CATEGORY
from examples.appointments.events import SlotBooked, SlotReleased
from examples.appointments.models import AgendaEntry
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
