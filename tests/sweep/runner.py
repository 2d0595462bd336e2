"""The sweep: kill (or freeze) a process at the 1st, 2nd, 3rd ... hit of each failpoint, take over, recount."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from messaging.failpoints import COUNT_ONLY, TALLY, VARIABLE
from tests.sweep import office, recount, work
from tests.sweep.databases import Databases
from tests.sweep.forks import End, Victim


@dataclass(frozen=True)
class Work:
    """What the victims do, what others do after their death, and what must hold then."""

    begin: Callable[[], None]
    take_over: Callable[[], None]
    violations: Callable[[], list[str]]


Hit = tuple[str, int]
"""A failpoint, and for the how manieth time it is reached."""
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
    survived: set[str] = field(default_factory=set)
    """Failpoints at which somebody was to die or freeze, and nobody did."""

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

    def baseline(self) -> list[Hit]:
        """Run without a fault; return what was reached, in its order."""
        self._tally.unlink(missing_ok=True)
        self._check("no fault", lambda database: self._run_on(self.work.begin, database, failpoint=COUNT_ONLY))
        return self._hits()

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

    def kill_in_turn(self, hits: Sequence[Hit], *, freeze: bool = False) -> list[Hit]:
        """Kill who comes to one of ``hits`` first, then who takes over at the next, and so on; return what never came.

        Hits count over all processes of the run, so each is the moment that a run with this death alone has; they
        should lie apart, so that each death meets other deliveries. Instead of being killed a process may be frozen.
        """
        left = list(hits)
        fault = self._freeze_next if freeze else self._kill_next
        names = ", then at ".join(f"{name}:{hit}" for name, hit in hits)
        self._check(
            f"{'freeze' if freeze else 'kill'} at {names}", lambda database: self._in_turn(database, left, fault)
        )
        return left

    def _in_turn(self, database: str, left: list[Hit], fault: Callable[..., bool]) -> None:
        self._tally.unlink(missing_ok=True)
        act = self.work.begin
        while left:
            armed = " ".join(f"{name}:{hit}" for name, hit in left)
            if not fault(act, database, armed):
                return
            left.remove(self._fell)
            act = self.work.take_over
        self._run(act, database)

    def _kill_next(self, act: Callable[[], Any], database: str, armed: str) -> bool:
        if not self._run_on(act, database, failpoint=armed, may_die=True).was_killed:
            return False
        self._fell = self._hits()[-1]
        self._fired(self._fell[0])
        return True

    def _freeze_next(self, act: Callable[[], Any], database: str, armed: str) -> bool:
        frozen = self._start(act, database, failpoint=armed.replace(" ", ":freeze ") + ":freeze", **self._tallied)
        if not frozen.is_frozen():
            self._judge(act.__name__, frozen.end())
            return False
        self._fell = self._hits()[-1]
        self._stalled(frozen, self._fell[0], database)
        return True

    @property
    def _tally(self) -> Path:
        return self._directory / "tally"

    @property
    def _tallied(self) -> dict[str, str]:
        return {TALLY: str(self._tally)}

    def _hits(self) -> list[Hit]:
        seen: Counter[str] = Counter()
        hits: list[Hit] = []
        for name in self._tally.read_text().split():
            seen[name] += 1
            hits.append((name, seen[name]))
        return hits

    def _run_on(self, act: Callable[[], Any], database: str, **given: Any) -> End:
        return self._run(act, database, **given, **self._tallied)

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
        self._stalled(frozen, name, database)
        self._run(self.work.take_over, database)

    def _stalled(self, frozen: Victim, name: str, database: str) -> None:
        """Take the claims of a frozen process away from it, let it finish late, and see whose they are."""
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

    def _start(
        self, act: Callable[[], Any], database: str, *, failpoint: str = "", in_: str = "victim", **environment: str
    ) -> Victim:
        directory = self._directory / in_
        directory.mkdir(exist_ok=True)
        given = {VARIABLE: failpoint, **environment, **self._environment}
        return Victim(act, database=database, directory=directory, **given)

    def _run(self, act: Callable[[], Any], database: str, *, may_die: bool = False, **given: Any) -> End:
        end = self._start(act, database, **given).end()
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
