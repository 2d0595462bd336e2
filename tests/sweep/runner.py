"""The sweep: kill (or freeze) a process at the 1st, 2nd, 3rd ... hit of each failpoint, take over, recount."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from messaging import failpoints
from messaging.failpoints import COUNT_ONLY, VARIABLE
from tests.sweep import office, recount, work
from tests.sweep.databases import Databases
from tests.sweep.forks import End, Victim


@dataclass(frozen=True)
class Work:
    """What the victims do, what others do after their death, and what must hold then."""

    begin: Callable[[], None]
    take_over: Callable[[], None]
    violations: Callable[[], list[str]]


JOURNEY = Work(work.begin, work.take_over, recount.violations)
OFFICE = Work(office.begin, office.take_over, office.violations)


@dataclass
class Result:
    """What was done, and what did not hold."""

    points: set[str] = field(default_factory=set)
    runs: int = 0
    kills: int = 0
    freezes: int = 0
    violations: list[str] = field(default_factory=list)

    def closing_line(self, seconds: float) -> str:
        broken = Counter(line.split(": ", 1)[1].split(" ")[0] for line in self.violations)
        lost = sum(" lost: " in line for line in self.violations)
        duplicated = sum(" duplicated: " in line for line in self.violations)
        return (
            f"{len(self.points)} failpoints, {self.runs} runs, {self.kills} kills, {self.freezes} freezes in"
            f" {seconds:.0f} s: {lost} lost, {duplicated} duplicated, broken invariants: {dict(broken) or 'none'}"
        )


class Sweep:
    """Runs on one set-up. ``environment`` goes to every process."""

    def __init__(self, databases: Databases, directory: Path, **environment: str) -> None:
        self._databases, self._directory, self._environment = databases, directory, environment
        self.work = JOURNEY
        self.result = Result()

    def baseline(self) -> dict[str, int]:
        """Run without a fault; return how often each failpoint was reached."""
        ends: list[End] = []
        begin = self.work.begin

        def counted() -> dict[str, int]:
            begin()
            return failpoints.counts()

        def run(database: str) -> None:
            ends.append(self._run(counted, database, failpoint=COUNT_ONLY))

        self._check("no fault", run)
        return dict(ends[0].answer or {})

    def kill_at(self, name: str, hits: Iterable[int], *, again_at: Iterable[str] = ()) -> None:
        """Kill at each hit until a run ends without firing; then once more in each recovery, where asked."""
        for hit in hits:
            kills = self.result.kills
            self._check(f"kill at {name}:{hit}", lambda database, hit=hit: self._kill(database, f"{name}:{hit}"))
            if self.result.kills == kills:
                return
            for second in again_at:
                self.kill_twice(name, hit, second)

    def kill_twice(self, name: str, hit: int, second: str) -> None:
        """Kill at one hit, and then whoever takes over."""
        what = f"kill at {name}:{hit}, then at {second}"
        self._check(what, lambda database: self._kill(database, f"{name}:{hit}", second))

    def kill_in_turn(self, names: Sequence[str]) -> list[str]:
        """Kill at the first of ``names``, whoever takes over at the second, and so on; return those that never came.

        One run then sweeps them all. They stand in the order in which the work gets to them, with others in between,
        so that no delivery dies often enough to be taken for the culprit.
        """
        missed: list[str] = []
        self._check(f"kill at {', then '.join(names)}", lambda database: missed.extend(self._kill_all(database, names)))
        return missed

    def _kill_all(self, database: str, names: Sequence[str]) -> Iterator[str]:
        act = self.work.begin
        for name in names:
            if self._run(act, database, failpoint=f"{name}:1", may_die=True).was_killed:
                self._fired(name)
            else:
                yield name
            act = self.work.take_over
        self._run(act, database)

    def freeze_at(self, name: str, hits: Iterable[int]) -> None:
        """Freeze at each hit until a run ends without firing; its claims get a new owner before it wakes."""
        for hit in hits:
            freezes = self.result.freezes
            self._check(f"freeze at {name}:{hit}", lambda database, hit=hit: self._freeze(database, name, hit))
            if self.result.freezes == freezes:
                return

    def _kill(self, database: str, first: str, second: str = "") -> None:
        end = self._run(self.work.begin, database, failpoint=first, may_die=True)
        if end.was_killed:
            self._fired(first)
            if second and self._run(self.work.take_over, database, failpoint=second, may_die=True).was_killed:
                self._fired(second)
            self._run(self.work.take_over, database)

    def _freeze(self, database: str, name: str, hit: int) -> None:
        frozen = self._start(self.work.begin, database, failpoint=f"{name}:{hit}:freeze")
        if not frozen.is_frozen():
            frozen.end()
            return
        self.result.points.add(name)
        self.result.freezes += 1
        taken = self._run(work.usurp, database, in_="usurper").answer or {}
        frozen.wake()
        frozen.end()
        left = self._run(work.claims, database).answer or {}
        for token, claimed in taken.items():
            if left.get(token, 0) != claimed:
                self._note(f"I6 a stale lease wrote: its new owner has {left.get(token, 0)} of {claimed} deliveries")
        self._run(work.give_back, database)
        self._run(self.work.take_over, database)

    def _fired(self, point: str) -> None:
        self.result.points.add(point.partition(":")[0])
        self.result.kills += 1

    def _check(self, what: str, act: Callable[[str], None]) -> None:
        self._what = what
        database = self._databases.create(f"sweep_{self.result.runs}")
        try:
            act(database)
            for violation in self._run(self.work.violations, database).answer or ():
                self._note(violation)
        finally:
            self._databases.drop(database)
            self.result.runs += 1

    def _note(self, violation: str) -> None:
        self.result.violations.append(f"{self._what}: {violation}")
        say(f"  {self._what}: {violation}")

    def _start(self, act: Callable[[], Any], database: str, *, failpoint: str = "", in_: str = "victim") -> Victim:
        directory = self._directory / in_
        directory.mkdir(exist_ok=True)
        return Victim(act, database=database, directory=directory, **{VARIABLE: failpoint}, **self._environment)

    def _run(
        self, act: Callable[[], Any], database: str, *, failpoint: str = "", may_die: bool = False, in_: str = "victim"
    ) -> End:
        end = self._start(act, database, failpoint=failpoint, in_=in_).end()
        if not (may_die and end.was_killed):
            self._judge(act.__name__, end)
        return end

    def _judge(self, what: str, end: End) -> None:
        if not end.is_fine:
            why = end.printed.strip().splitlines()[-1:] or [f"signal {end.signal}"]
            self._note(f"I10 {what} did not end well: {why[0]}")
            say(end.printed[-3000:])


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
