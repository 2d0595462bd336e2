"""Failures injected into every step of a flow that somebody directs, and what becomes of it.

A flow says how it starts and how it may be refused (``Scenario``). Each message that a consumer handles on the way is
then let fail in three ways, one flow each; what is handled only after a refusal or a late answer has its turn as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from messaging import RetryLater, use_correlation
from messaging.models import Attempt, DeadLetter, Message
from messaging.testing import Harness
from messaging.testing.doubles import InjectedFailure
from messaging.testing.naming import consumer_of

LATE = timedelta(days=3)
"""After that a late consumer does its work: later than any timeout of the flows."""

MODES = ("dies once after its work", "fails for ever", "is late")

Step = tuple[str, str]
"""A consumer and the contract of a message that it handles."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Where a flow came to rest. Steps stand in the order of their completion and compensation."""

    state: str
    completed: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    dead_letters: int = 0

    def __str__(self) -> str:
        undone = f", undone: {', '.join(self.undone)}" if self.undone else ""
        return f"`{self.state}`{undone}{' †' if self.dead_letters else ''}"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """How one flow is started, refused and looked at."""

    title: str
    director: str
    """The consumer that directs it: a saga's name, or a controller's."""
    consumers: Sequence[str]
    start: Callable[[str], object]
    """Starts a flow in an open transaction and returns what ``look`` finds it by; gets a refusal's name, or ""."""
    look: Callable[[Any], Ending]
    refusals: Sequence[str] = ()
    is_parallel: bool = False
    """Steps run side by side: in which order they are completed differs from run to run, and is not told."""
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One flow with what is done to it."""

    name: str
    refusal: str = ""
    injected: tuple[tuple[Step, str], ...] = ()

    def with_failure(self, step: Step, mode: str, name: str) -> Run:
        return Run(name=name, refusal=self.refusal, injected=(*self.injected, (step, mode)))


@dataclass
class Group:
    """Steps that are handled first in one kind of flow, and their endings by mode."""

    base: Run
    ending: Ending
    steps: dict[Step, dict[str, Ending]] = field(default_factory=dict)


def play(scenario: Scenario, harness: Harness) -> list[Group]:
    """Let every step fail in every mode; the first group is that of the flow in which nothing fails."""
    scenario.prepare()
    runs = _Runs(scenario, harness)
    groups, seen = _grouped(runs, [Run(name="nothing")], seen=set())
    refused = [Run(name=name, refusal=name) for name in scenario.refusals]
    late = [groups[0].base.with_failure(step, "is late", _said(step, "is late")) for step in groups[0].steps]
    others, _ = _grouped(runs, [*refused, *late], seen=seen)
    groups += others
    asked = [(group, step, mode) for group in groups for step in group.steps for mode in MODES]
    failed = [group.base.with_failure(step, mode, _said(step, mode)) for group, step, mode in asked]
    for (group, step, mode), ending in zip(asked, runs.all(failed), strict=True):
        group.steps[step][mode] = ending
    return groups


def _grouped(runs: _Runs, bases: list[Run], *, seen: set[Step]) -> tuple[list[Group], set[Step]]:
    groups = [Group(base=base, ending=ending) for base, ending in zip(bases, runs.all(bases), strict=True)]
    for group in groups:
        new = [step for step in runs.steps(group.base) if step not in seen]
        group.steps = {step: {} for step in new}
        seen = seen | set(new)
    return groups, seen


class _Runs:
    """Starts flows side by side, each under a correlation id by which its failures are told from the others'."""

    def __init__(self, scenario: Scenario, harness: Harness) -> None:
        self._scenario, self._harness = scenario, harness
        self._flows: dict[str, Run] = {}
        self._ids: dict[Run, str] = {}
        self._due: dict[str, datetime] = {}
        for name in scenario.consumers:
            harness.replace(name, self._failing(name, consumer_of(name).handler))

    def all(self, runs: Iterable[Run]) -> list[Ending]:
        """Start these, let everything come to rest, and return their endings."""
        started = [self._start(run) for run in runs]
        self._harness.finish()
        return [self._look(flow, found_by) for flow, found_by in started]

    def steps(self, run: Run) -> list[Step]:
        """Return what was handled in a flow, in the order of first handling."""
        flow = self._ids[run]
        types = dict(Message.objects.filter(correlation_id=flow).values_list("id", "type"))
        handled = Attempt.objects.filter(message_id__in=types).order_by("id").values_list("consumer", "message_id")
        return list(dict.fromkeys((consumer, types[message]) for consumer, message in handled))

    def _start(self, run: Run) -> tuple[str, object]:
        flow = f"{self._scenario.director} {len(self._flows)}"
        self._flows[flow], self._ids[run] = run, flow
        self._due[flow] = timezone.now() + LATE
        with use_correlation(flow), transaction.atomic():
            return flow, self._scenario.start(run.refusal)

    def _look(self, flow: str, found_by: object) -> Ending:
        found = self._scenario.look(found_by)
        dead = DeadLetter.objects.filter(correlation_id=flow, state=DeadLetter.State.OPEN).count()
        order = sorted if self._scenario.is_parallel else tuple
        return Ending(
            state=found.state, completed=tuple(order(found.completed)), undone=tuple(order(found.undone)),
            dead_letters=dead,
        )  # fmt: skip

    def _failing(self, consumer: str, handler: Callable[..., Any]) -> Callable[..., None]:
        def handle(message: Any, context: Any) -> None:
            flow, step = context.correlation_id or "", (consumer, context.type)
            mode = dict(self._flows[flow].injected).get(step, "") if flow in self._flows else ""
            if mode == "fails for ever":
                raise InjectedFailure(_said(step, mode))
            if mode == "is late" and (wait := self._due[flow] - timezone.now()) > timedelta(minutes=1):
                raise RetryLater(wait)
            handler(message, context)
            if mode == "dies once after its work" and context.attempt == 1:
                raise InjectedFailure(_said(step, mode))

        return handle


def _said(step: Step, mode: str) -> str:
    return f"`{step[0]}` {mode} ({short(step[1])})"


def short(contract: str) -> str:
    return contract.rpartition(".")[2]
