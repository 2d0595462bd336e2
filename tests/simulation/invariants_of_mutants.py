"""What each mutant breaks: at least one of these invariants must be seen to."""

from __future__ import annotations

BREAKS: dict[str, tuple[str, ...]] = {
    "fence": ("I6",),
    "fence in the statements": ("I1", "I2", "I6"),
    "inbox key": ("I1", "I2"),
    "rescue": ("I10",),
    "staleness check": ("I6", "I7"),
    "relay's transaction": ("I1", "I11"),
    "order": ("I4",),
    "block": ("I4",),
    "outbox delete": ("I2", "I10", "I11"),
    "firing's transaction": ("I1", "I11"),
    "due time's key": ("I2",),
    "scheduled row": ("I1", "I2"),
    "saga's late timeouts": ("I5",),
    "saga's late steps": ("I5",),
    "saga's reverse order": ("I5",),
    "one probe": ("limit",),
    "rate": ("limit",),
    "concurrency": ("limit",),
    "pause and drain": ("limit",),
    "answer's timeout": ("I2",),
}

FIRST_SEEDS = {
    "block": 200,
    "fence in the statements": 3,
    "order": 200,
    "one probe": 40,
    "rate": 15,
    "concurrency": 35,
    "pause and drain": 50,
}
"""Where to begin to look: near the seed that found it last. A change of the bus moves it, and then it takes longer."""
