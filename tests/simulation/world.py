"""A simulated system: processes with their actors, one virtual clock, and one seed that decides everything.

Actors are greenlets that run the real functions. Exactly one runs at a time; it hands over at each statement outside
a transaction, at each failpoint and whenever it waits. The next one is drawn from the seed's random numbers.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.utils import InterfaceError
from greenlet import getcurrent, greenlet

from tests.simulation.connection import may_hand_over, roll_back
from tests.simulation.profile import Profile

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
STEP_SECONDS = 0.004
"""Longest time that one step takes."""


class Process:
    """An operating system process: its actors live and die together, and share what is per process."""

    def __init__(self, role: str, number: int, start: Callable[[Process], None]) -> None:
        self.role, self.number, self.start = role, number, start
        self.name = f"{role}{number}"
        self.globals: dict[str, Any] = {}
        self.actors: list[Actor] = []
        self.is_alive = True
        self.frozen_until = 0.0

    def __repr__(self) -> str:
        return self.name


class Actor:
    """One thread of a process."""

    def __init__(self, process: Process, name: str, act: Callable[[], Any], parent: greenlet) -> None:
        self.process, self.name = process, name
        self.greenlet = greenlet(act, parent)
        self.wakes_at = 0.0
        self.is_woken: Callable[[], bool] | None = None

    def is_alive(self) -> bool:
        return self.process.is_alive and not self.greenlet.dead

    def due_at(self) -> float:
        return max(self.wakes_at, self.process.frozen_until)


class World:
    def __init__(
        self, seed: int, install: Callable[[Process], None], put_away: Callable[[Process], None]
    ) -> None:  # fmt: skip
        self.seed, self.rng = seed, random.Random(seed)
        self.profile = Profile.draw(self.rng)
        self.now = 0.0
        self.steps = 0
        self.faults: Counter[str] = Counter()
        self.faults_are_on = True
        self.is_over = False
        self.processes: list[Process] = []
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self.trace: list[str] = []
        self.errors: list[str] = []
        self._buried: list[Actor] = []
        self._main = getcurrent()
        self._install, self._put_away = install, put_away

    # ── What is read ──

    def clock(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now)

    def digest(self) -> str:
        """Return the hash of everything that happened."""
        return hashlib.sha256("".join(self.trace).encode()).hexdigest()[:16]

    def note(self, what: str) -> None:
        """Write a line of the trace."""
        who = self.current.process.name + "/" + self.current.name if self.current else "-"
        self.trace.append(f"{self.now:9.3f} {who:<22} {what}")

    # ── Processes ──

    def launch(self, role: str, start: Callable[[Process], None]) -> Process:
        number = 1 + sum(each.role == role for each in self.processes)
        process = Process(role, number, start)
        self.processes.append(process)
        start(process)
        return process

    def spawn(self, process: Process, name: str, act: Callable[[], Any]) -> Actor:
        def guarded() -> None:
            try:
                act()
            except Exception as error:  # noqa: BLE001  no actor may end by an error: that is a finding
                if not self.is_over:
                    self.errors.append(f"{process.name}/{name} ended with {error!r}")
                    self.note(f"ENDED with {error!r}")

        actor = Actor(process, name, guarded, self._main)
        process.actors.append(actor)
        self.actors.append(actor)
        return actor

    def die(self, why: str) -> None:
        """End the process of the actor that runs, with its transaction."""
        actor = self.current
        assert actor is not None
        self.note(f"DIES of {why}")
        roll_back()
        self.bury(actor.process)
        self._main.switch()
        raise AssertionError("a dead actor was resumed")  # pragma: no cover

    def bury(self, process: Process) -> None:
        self.faults["deaths"] += 1
        process.is_alive = False
        # Kept, not collected: a greenlet that is collected runs its cleanup, which no killed process does.
        self._buried += process.actors
        self.actors = [actor for actor in self.actors if actor.process is not process]

    # ── Running ──

    def step(self) -> bool:
        """Let one actor run up to its next point; False when all sleep for ever."""
        now = self.now
        ready = [
            actor for actor in self.actors
            if actor.process.frozen_until <= now
            and (actor.wakes_at <= now or (actor.is_woken is not None and actor.is_woken()))
        ]  # fmt: skip
        if not ready:
            due = min((actor.due_at() for actor in self.actors), default=None)
            if due is None:
                return False
            self.now = max(self.now, due)
            return True
        actor = self.rng.choice(ready)
        self.now += self.rng.random() * STEP_SECONDS
        if self.faults_are_on and self.rng.random() < self.profile.leaps:
            self.now += self.rng.random() * 4
        self._resume(actor)
        return True

    def _resume(self, actor: Actor) -> None:
        self.steps += 1
        self.current = actor
        actor.wakes_at, actor.is_woken = 0.0, None
        self._install(actor.process)
        actor.greenlet.switch()
        self._put_away(actor.process)
        self.current = None
        if actor.greenlet.dead:
            self.actors.remove(actor)

    def reach(self, name: str) -> None:
        """A point at which the running actor may be struck, or hand over."""
        if self.current is None or self.is_over:
            return
        if self.faults_are_on:
            self._strike(name)
        if may_hand_over():
            self.note(name)
            self._main.switch()

    def sleep(self, seconds: float, is_woken: Callable[[], bool] | None = None) -> None:
        """Let virtual time pass for the running actor; inside a transaction it passes for all."""
        if self.current is None or self.is_over:
            return
        if not may_hand_over():
            self.now += seconds
            return
        self.current.wakes_at, self.current.is_woken = self.now + seconds, is_woken
        self._main.switch()

    def _strike(self, name: str) -> None:
        assert self.current is not None
        process, profile, chance = self.current.process, self.profile, self.rng.random()
        if chance < profile.deaths:
            self.die(name)
        chance -= profile.deaths
        if chance < profile.stalls and may_hand_over():
            self.faults["stalls"] += 1
            process.frozen_until = self.now + self.rng.uniform(1, 40)
            self.note(f"STALLS at {name} until {process.frozen_until:.3f}")
        elif 0 <= chance - profile.stalls < profile.cuts and may_be_cut(name):
            self.faults["cuts"] += 1
            self.note(f"CUT OFF at {name}")
            raise InterfaceError(f"the simulation cut the connection at {name}")

    def is_struck(self, fault: str) -> bool:
        """Say whether the broker or a hint fails now, in the way that ``fault`` names."""
        if not self.faults_are_on or self.rng.random() >= getattr(self.profile, fault):
            return False
        self.faults[fault] += 1
        return True

    def end(self) -> None:
        """Unwind every actor, dead ones too. The database is thrown away afterwards."""
        self.is_over = True
        for actor in [*self.actors, *self._buried]:
            while not actor.greenlet.dead:
                roll_back()
                actor.greenlet.throw()
        roll_back()


def may_be_cut(name: str) -> bool:
    """Say whether a connection can be lost there: only where a statement or a COMMIT is under way."""
    return not name.startswith(("handler", "outside", "wake"))
