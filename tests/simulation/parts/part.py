"""What every part is made of: who is declared, who acts, when it is at rest, and what must be true then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from messaging.actors import Actor
from messaging.consumers import Consumer, declare, find_consumer, forget_consumer

if TYPE_CHECKING:
    from tests.simulation.actors import Client
    from tests.simulation.monitor import Monitor
    from tests.simulation.oracle import Facts

Act = Callable[[], object]
Tick = Callable[[], object]
Choice = Callable[[Actor, Callable[[], str]], Act | None]
"""Given who acts and how to make a request id: what to do now, if there is anything."""


class Part:
    """One run's share of a part. Its consumers exist only in the seeds that drew it."""

    consumers: ClassVar[tuple[Consumer, ...]]
    guarantees: ClassVar[dict[str, str]] = {}
    """Of those of its consumers that write effects."""
    echoing: Collection[str] = ()
    """Those that say each handled run in a follow-up."""
    options: ClassVar[dict[str, object]] = {}
    """More of settings.MESSAGING."""
    ticks: Sequence[Tick] = ()
    """Tasks of the scheduler beside those that always run."""

    def enter(self) -> None:
        for each in self.consumers:
            declare(each)

    def leave(self) -> None:
        for each in self.consumers:
            forget_consumer(each.name)

    def watch(self, monitor: Monitor) -> None:
        """Look on while it happens."""

    def clients(self) -> list[Client]:
        return []

    def choices(self) -> Sequence[Choice]:
        """Return what operators may do."""
        return ()

    def is_at_rest(self) -> bool:
        """Say, once faults have stopped, whether nothing more is to come; do what is left to a person."""
        return True

    def violations(self, facts: Facts) -> Iterator[str]:
        yield from ()


def taken_out(*names: str) -> tuple[Consumer, ...]:
    """Take consumers out of the registry, for the seeds that have no use for them."""
    found = [find_consumer(name) for name in names]
    for name in names:
        forget_consumer(name)
    assert all(found), names
    return tuple(each for each in found if each)
