"""What the cast says. A booking carries, for each consumer, the plan of what its handler will do."""

from __future__ import annotations

from messaging import Event


class Booked(Event, version=1, name="cast.Booked"):
    number: int
    plans: dict[str, str] = {}


class Echoed(Event, version=1, name="cast.Echoed"):
    """The follow-up of one handled run."""

    by: str
    run: int
