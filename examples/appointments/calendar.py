"""The practitioners' days, event-sourced: one stream for each practitioner and day, ``dayplan/dr-adams/2026-12-03``.

A day is what can collide, so it is what has a version: two bookings that were decided on the same version of a day
cannot both be appended. And it stays short, however long the clinic exists.
"""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from pydantic import BaseModel

from examples.appointments.events import FIRST_HOUR, LAST_HOUR, SLOT_MINUTES, SlotBooked, SlotReleased
from messaging import Event, eventstore

SLOTS_A_DAY = (LAST_HOUR - FIRST_HOUR) * 60 // SLOT_MINUTES
CATEGORY = "dayplan"


class DayPlan(BaseModel):
    """A practitioner's day: who holds which slot, by the slot's beginning ("09:30")."""

    slots: dict[str, UUID] = {}

    def holder(self, starts_at: datetime) -> UUID | None:
        return self.slots.get(f"{starts_at:%H:%M}")


def after(plan: DayPlan, event: Event) -> DayPlan:
    """Return the plan after one of its events."""
    assert isinstance(event, SlotBooked | SlotReleased)
    slot = f"{event.starts_at:%H:%M}"
    if isinstance(event, SlotBooked):
        return DayPlan(slots={**plan.slots, slot: event.booking_id})
    return DayPlan(slots={key: holder for key, holder in plan.slots.items() if key != slot})


PLANS = eventstore.Aggregate(CATEGORY, state=DayPlan, apply=after, snapshot_every=20)


def plan_id(practitioner: str, day: date) -> str:
    return f"{practitioner}/{day:%Y-%m-%d}"


def book(wanted: SlotBooked) -> bool:
    """Book a slot, or find it booked for the same booking; False when another holds it.

    Raises:
        WrongVersion: the day changed meanwhile; decide again.
    """
    plan = plan_id(wanted.practitioner, wanted.starts_at)
    today = PLANS.load(plan)
    holder = today.state.holder(wanted.starts_at)
    if holder is None:
        PLANS.append(plan, wanted, expected=today.version)
    return holder in (None, wanted.booking_id)


def release(released: SlotReleased) -> None:
    """Give a slot back; one that the booking does not hold (any more) changes nothing.

    Raises:
        WrongVersion: the day changed meanwhile; decide again.
    """
    plan = plan_id(released.practitioner, released.starts_at)
    today = PLANS.load(plan)
    if today.state.holder(released.starts_at) == released.booking_id:
        PLANS.append(plan, released, expected=today.version)
