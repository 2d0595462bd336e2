"""The clinic's rooms. That none is booked twice is the database's word: a unique constraint over what is held."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.utils import timezone

from examples.appointments.models import RoomBooking

ROOMS: dict[str, tuple[str, ...]] = {
    "consultation": ("C1", "C2", "C3", "C4", "C5", "C6"),
    "ultrasound": ("U1", "U2"),
    "minor_surgery": ("S1",),
    "mri": (),  # closed for the whole year
}
# A bug on purpose: nobody entered the new pool, so a booking of "hydrotherapy" fails with a KeyError.


def book(booking_id: UUID, *, kind: str, starts_at: datetime) -> str | None:
    """Book a room of a kind and return it; None when none is free."""
    booked = RoomBooking.objects.filter(booking_id=booking_id).first()
    if booked is not None:
        return booked.room  # a replay of what was handled
    taken = set(
        RoomBooking.objects.filter(room__in=ROOMS[kind], starts_at=starts_at, released_at=None)
        .values_list("room", flat=True)
    )  # fmt: skip
    free = (room for room in ROOMS[kind] if room not in taken)
    return next((room for room in free if _take(booking_id, room, starts_at)), None)


def release(booking_id: UUID) -> bool:
    """Give a booking's room back; False when it holds none (any more)."""
    held = RoomBooking.objects.filter(booking_id=booking_id, released_at=None)
    return bool(held.update(released_at=timezone.now()))


def _take(booking_id: UUID, room: str, starts_at: datetime) -> bool:
    row = RoomBooking(room=room, starts_at=starts_at, booking_id=booking_id, booked_at=timezone.now())
    # Another worker may take the same room at this moment: the constraint lets one of them through, and this one
    # waits for the other's end to see which.
    RoomBooking.objects.bulk_create([row], ignore_conflicts=True)
    return RoomBooking.objects.filter(booking_id=booking_id, room=room).exists()
