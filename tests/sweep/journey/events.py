from __future__ import annotations

from messaging import Event

KINDS = ("plain", "flaky", "savepoint", "replayed", "resubmitted", "discarded", "cut")
"""One trip of each kind is booked; those kinds that fail say so in ``consumers``."""


LUGGAGE = ("plain", "light", "large", "broken", "hastened", "cancelled")
"""One piece of each kind is checked in; see ``luggage``."""


class TripBooked(Event, version=1):
    number: int
    kind: str


class SeatHeld(Event, version=1):
    number: int


class TripCharged(Event, version=1):
    number: int


class LuggageChecked(Event, version=1):
    number: int
    kind: str
    weight: int
    label: str = ""


class LastCallGiven(Event, version=1):
    number: int


class TicketScanned(Event, version=1):
    number: int


class DayBegun(Event, version=1):
    """What a schedule publishes."""
