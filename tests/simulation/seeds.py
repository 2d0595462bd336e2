"""What a process of the runner does: set Django up once, then play the seeds it is given."""

from __future__ import annotations

import gc
import os
from collections import Counter
from dataclasses import dataclass

GARBAGE_EVERY = 20
"""Seeds from one collection to the next: each leaves cycles, but looking for them all the time costs a tenth."""
_since = 0


@dataclass(frozen=True, kw_only=True)
class Played:
    """What came of one seed; ``trace`` only of one that broke, or when it was asked for."""

    seed: int
    steps: int
    digest: str
    faults: Counter[str]
    counts: Counter[str]
    violations: tuple[str, ...]
    trace: tuple[str, ...]


def prepare(mutant: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.simulation.settings"
    import django

    django.setup()
    from tests.simulation.play import template

    template()
    if mutant:
        from tests.simulation.mutants import MUTANTS

        MUTANTS[mutant]()
    gc.disable()


def play_one(seed: int, keeps_trace: bool = False) -> Played:
    from tests.simulation.play import play

    global _since
    _since += 1
    if _since % GARBAGE_EVERY == 0:
        gc.collect()
    return play(seed, keeps_trace=keeps_trace)
