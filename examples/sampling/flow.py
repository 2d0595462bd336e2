"""What a flow says about its sample traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A source of made-up traffic. settings.SAMPLE_FLOWS names those that run."""

    name: str
    what: str
    """What it makes, in the plural: "orders"."""
    seconds_between: float
    traffic: Callable[[], Iterator[None]]
    """Called each time the flow is turned on; every step makes one more, the first may make one of each kind."""
    first_after: float = 0
    """Seconds that the first one waits, where it is too heavy for the moment in which everything starts."""
