"""Chunk size follows measured handler time: many quick handlers share a commit, slow ones run alone."""

from __future__ import annotations

from messaging.database import store
from messaging.settings import options

FIRST = 1
"""The first claim tells how long the handler takes; from there chunks grow as far as their time allows."""
SMOOTHING = 0.1
QUICK_GROWTH, SLOW_GROWTH = 4.0, 1.25
GIVE_WAY_LIMIT = 4
"""So many times in a row a chunk gives way to another before it tries with fewer deliveries."""
FIRST_TURNS, MOST_TURNS = 64, 4096
"""Chunks that take turns after two met on the same rows, and how many at most where they meet again and again."""
CALM_CHUNKS = 2
"""Chunks without a rollback before they may grow again."""


class Sizer:
    """Suggests how many deliveries the next claim of one consumer takes."""

    def __init__(self) -> None:
        self._mean_us: float | None = None
        self._ceiling = float(FIRST)
        self._growth = QUICK_GROWTH
        self._calm_after = 0
        self._gave_way = 0
        self._least_us: float | None = None
        self._turns = 0
        self._next_turns = FIRST_TURNS

    def limit(self) -> int:
        """Return the number of deliveries that fit the time slice of one transaction."""
        ceiling = min(int(self._ceiling), options().chunk_limit)
        if self._mean_us is None:
            return max(1, ceiling)
        # On SQLite an open write transaction stops every other writer, so slices are a tenth.
        slice_us = options().chunk_seconds * 1_000_000 * (0.1 if store().hint_is_local else 1.0)
        return max(1, min(ceiling, int(slice_us / max(self._mean_us, 1.0))))

    def note(self, duration_us: int) -> None:
        mean = self._mean_us
        self._least_us = duration_us if self._least_us is None else min(self._least_us, duration_us)
        self._mean_us = duration_us if mean is None else mean + SMOOTHING * (duration_us - mean)

    def went_well(self) -> None:
        """Let chunks grow: fast until one first had to roll back, slowly from then on."""
        self._gave_way = 0
        self._turns = max(0, self._turns - 1)
        if self._calm_after:
            self._calm_after -= 1
        else:
            self._ceiling = min(self._ceiling * self._growth, float(options().chunk_limit))

    @property
    def takes_turns(self) -> bool:
        """Whether the consumer's chunks run one after the other, as they would meet on the same rows."""
        return self._turns > 0

    def met(self) -> bool:
        """Note that a chunk met another on the same rows; say whether taking turns is new, and so worth a try."""
        if self._turns:
            return False
        self._turns, self._next_turns = self._next_turns, min(self._next_turns * 2, MOST_TURNS)
        # What handlers took had waiting for rows in it.
        self._mean_us, self._least_us = self._least_us, None
        return True

    def may_give_way(self) -> bool:
        """Say whether a chunk that waited too long for a row should simply wait for its turn."""
        self._gave_way = (self._gave_way + 1) % (GIVE_WAY_LIMIT + 1)
        return self._gave_way > 0

    def shrink(self) -> None:
        """Halve the chunks: one rolled back, as a handler failed or two chunks met on the same rows."""
        self._ceiling = max(1.0, self._ceiling / 2)
        self._growth, self._calm_after = SLOW_GROWTH, CALM_CHUNKS
