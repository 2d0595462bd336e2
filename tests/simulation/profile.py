"""What a seed draws before it begins: how many processes, which faults and how often (swarm testing)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Rates are probabilities at each point that an actor reaches."""

    relays: int
    workers: int
    schedulers: int
    producers: int
    bookings: int
    """Of each producer."""
    repairs: int
    """Actions of each operator."""
    trouble: float
    deaths: float
    stalls: float
    cuts: float
    lost: float
    """Of wake-ups and hints."""
    doubled: float
    refused: float
    """Wake-ups that the broker does not take."""
    leaps: float
    chunk_limit: int
    wakeups: int

    @classmethod
    def draw(cls, rng: Random) -> Profile:
        """Draw; each kind of fault is absent in a third of all seeds, so that none hides behind another."""

        def rate(most: float) -> float:
            return 0.0 if rng.random() < 1 / 3 else rng.random() * most

        return cls(
            relays=rng.randint(1, 2), workers=rng.randint(1, 3), schedulers=rng.randint(1, 2),
            producers=rng.randint(1, 2), bookings=rng.randint(1, 3), repairs=rng.randint(0, 4),
            trouble=rate(0.9), deaths=rate(0.015), stalls=rate(0.012), cuts=rate(0.02), lost=rate(0.5),
            doubled=rate(0.5), refused=rate(0.3), leaps=rate(0.01),
            chunk_limit=rng.choice([1, 2, 4, 100]), wakeups=rng.randint(1, 2),
        )  # fmt: skip

    def with_parts(self) -> Profile:
        """Return what is left of the basic cast where others play too: a seed costs about the same."""
        return replace(self, producers=1, bookings=1)

    def options(self) -> dict[str, object]:
        """Return the settings.MESSAGING of this run."""
        return {
            "heartbeat_seconds": 4.0, "poll_seconds": 2.5,
            "chunk_limit": self.chunk_limit, "wakeups_per_consumer": self.wakeups,
        }  # fmt: skip
