"""What the runner prepares once and its forks do: set Django up, play the seeds they are given."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterable
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


def prepare() -> None:
    """Set up and migrate, once; every process that plays is a fork of this one."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.simulation.settings"
    import django

    django.setup()
    from tests.simulation import mutants
    from tests.simulation.play import template

    assert mutants.MUTANTS
    template()
    gc.collect()
    gc.freeze()  # what is there now stays for ever: nobody need look through it again
    gc.disable()


def take_out(mutant: str) -> None:
    """Take a safeguard out of this process."""
    from tests.simulation.mutants import MUTANTS

    global _mutant
    _mutant = mutant
    MUTANTS[mutant]()


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


def find(mutant: str, seeds: Iterable[int]) -> Played | None:
    """Return the first seed that notices that a safeguard is out. This process is fit for nothing else after it."""
    take_out(mutant)
    played = (play_one(seed) for seed in seeds)
    return next((each for each in played if each is not None and each.violations), None)
