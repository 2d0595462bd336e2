"""What a handler does with one message, in a word, and how its runs may therefore end.

``fails:2`` fails its first two attempts, ``kills:1`` ends its process at the first one, ``first:permanent`` does so
in run 1 only, so that a replay heals it.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

FINE = "fine"
COMMON = ("fails:1", "fails:3", "later", "slow", "permanent", "first:permanent", "first:exhausted", "ignored")
RARE = ("exhausted", "kills:1", "kills")
MOST_FAILURES = 3
"""Failures that the cast's retry policy forgives."""


def draw(rng: Random, consumers: Sequence[str], *, trouble: float) -> dict[str, str]:
    """Draw the plans of one message: for each consumer trouble with this probability."""
    plans: dict[str, str] = {}
    for consumer in consumers:
        if rng.random() < trouble:
            plans[consumer] = rng.choice(RARE if rng.random() < 0.15 else COMMON)
    return plans


def of_run(plans: dict[str, str], consumer: str, run: int) -> str:
    """Return the plan that holds in this run."""
    plan = plans.get(consumer, FINE)
    if plan.startswith("first:"):
        return plan.removeprefix("first:") if run == 1 else FINE
    return plan


def ending(plan: str, guarantee: str) -> str:
    """Return how a run with this plan ends: an outcome, or the reason of its dead letter."""
    if guarantee == "at_most_once":
        return "dropped" if plan in {"permanent", "exhausted", "ignored", "fails:1", "fails:3", "later"} else "handled"
    if plan in {"permanent", "exhausted", "ignored"}:
        return plan
    return "crash_loop" if plan == "kills" else "handled"
