"""What a seed may add to the basic cast: parts of the product that not every seed can afford."""

from __future__ import annotations

from random import Random

from tests.simulation.parts.asking import Asking
from tests.simulation.parts.expiring import Expiring
from tests.simulation.parts.filtered import Filtered
from tests.simulation.parts.gates import Gates
from tests.simulation.parts.gathered import Gathered
from tests.simulation.parts.large import Large
from tests.simulation.parts.later import Later
from tests.simulation.parts.part import Part
from tests.simulation.parts.trips import Trips

ALL: tuple[type[Part], ...] = (Asking, Expiring, Filtered, Gates, Gathered, Large, Later, Trips)
HOW_MANY = (0, 1)


def draw(seed: int) -> list[Part]:
    """Draw which of them take part; the seed's other random numbers stay as they are."""
    rng = Random(f"{seed}-parts")
    return [part() for part in rng.sample(ALL, rng.choice(HOW_MANY))]
