from __future__ import annotations

from messaging import Event

KINDS = ("plain", "flaky", "savepoint", "replayed", "resubmitted", "discarded", "cut")
"""One trip of each kind is booked; those kinds that fail say so in ``consumers``."""


class TripBooked(Event, version=1):
    number: int
    kind: str


class SeatHeld(Event, version=1):
    number: int


class TripCharged(Event, version=1):
    number: int
