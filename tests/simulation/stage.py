"""The world that plays in this thread now: what the seams and the cast's handlers ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World

_world: World | None = None


def enter(world: World | None) -> None:
    global _world
    _world = world


def world() -> World:
    assert _world is not None, "no simulation runs in this process"
    return _world


def work(seconds: float) -> None:
    """Let a handler take its time: others go on meanwhile, where its transaction allows it."""
    world().sleep(seconds)


def kill() -> None:
    """End the process in which this runs, as the kernel would."""
    world().die("its handler")
