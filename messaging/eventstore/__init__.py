"""Event store: streams of events, aggregates folded from them, projections built from history. docs/event-store.md."""

from messaging.errors import WrongVersion
from messaging.eventstore.aggregates import Aggregate, Loaded
from messaging.eventstore.projections import Applied, Projection, projection
from messaging.eventstore.streams import ANY, Recorded, append, read_stream

__all__ = [
    "ANY", "Aggregate", "Applied", "Loaded", "Projection", "Recorded", "WrongVersion", "append", "projection",
    "read_stream",
]  # fmt: skip
