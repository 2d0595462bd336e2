"""What a recount found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Count:
    """What a recount found. ``violations`` says each breach in words."""

    attempted: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown_committed: int = 0
    unknown_rolled_back: int = 0
    messages: int = 0
    deliveries: int = 0
    lost: int = 0
    duplicated: int = 0
    unexpected: int = 0
    recovered: int = 0
    repeated_at_least_once: int = 0
    skipped_at_most_once: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    longest_stall: float = 0.0
    slowest: float = 0.0
    slow: list[str] = field(default_factory=list)
    """The slowest first runs, each with the attempts made meanwhile."""
    violations: list[str] = field(default_factory=list)
