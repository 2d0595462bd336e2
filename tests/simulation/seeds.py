"""What a process of the runner does: set Django up once, then play the seeds it is given."""

from __future__ import annotations

import gc
import os
from collections import Counter
from dataclasses import dataclass

GARBAGE_EVERY = 20
"""Seeds from one collection to the next: each leaves cycles, but looking for them all the time costs a tenth."""
_since = 0
_mutant = ""


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

        global _mutant
        _mutant = mutant
        MUTANTS[mutant]()
    gc.disable()


def play_one(seed: int, keeps_trace: bool = False) -> Played | None:
    """Play a seed, unless it lacks the part in which the mutant would show."""
    from tests.simulation import parts
    from tests.simulation.mutants_of_parts import part_of
    from tests.simulation.play import play

    part = part_of(_mutant)
    if part is not None and not any(isinstance(drawn, part) for drawn in parts.draw(seed)):
        return None
    global _since
    _since += 1
    if _since % GARBAGE_EVERY == 0:
        gc.collect()
    return play(seed, keeps_trace=keeps_trace)
