"""Gates: a breaker over an outage, limits of the code and of operators, drains and pauses, watched at every claim."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import combinations_with_replacement
from typing import Any
from uuid import UUID

from django.db import transaction

from messaging import Breaker, Context, Event, Rate, clock, consumer, publish, tasks
from messaging.actors import Actor
from messaging.consumers import Consumer
from messaging.delivery import gate, loop
from messaging.models import Attempt, ConsumerState, DeadLetter, Delivery, Gate, Message, Worker
from messaging.operations import (
    clear_override,
    drain_consumer,
    override_limits,
    pause_consumer,
    reset_breaker,
    resume_consumer,
)
from messaging.settings import options
from tests.simulation import stage
from tests.simulation.actors import Client
from tests.simulation.cast.consumers import SOON, Trouble
from tests.simulation.cast.models import Sent
from tests.simulation.monitor import Monitor
from tests.simulation.oracle import Facts
from tests.simulation.parts.part import Act, Choice, Part, taken_out
from tests.simulation.stage import world

CALLER, METERED, FREE = "cast.caller", "cast.metered", "cast.free"
RATE, AT_ONCE = Rate(2, per="4s"), 1
OUTAGE = (3.0, 18.0)
"""Virtual seconds between which calls fail."""


class Called(Event, version=1, name="cast.Called"):
    number: int


@consumer(Called, name=CALLER, retry=SOON, guarantee="at_least_once", breaker=Breaker(failures=2, open_for="4s"))
def call(event: Called, context: Context) -> None:
    stage.work(0.5)
    if world().faults_are_on and OUTAGE[0] < world().now < OUTAGE[1]:
        raise Trouble


@consumer(Called, name=METERED, retry=SOON, guarantee="at_least_once", rate_limit=RATE, concurrency=AT_ONCE)
def meter(event: Called, context: Context) -> None:
    stage.work(0.5)


@consumer(Called, name=FREE, retry=SOON, guarantee="at_least_once")
def call_freely(event: Called, context: Context) -> None:
    stage.work(0.5)


class Gates(Part):
    consumers = taken_out(CALLER, METERED, FREE)
    ticks = (tasks.pause_drained.run,)

    def __init__(self) -> None:
        self._probes: dict[UUID, UUID] = {}
        self._asked_at: dict[UUID, datetime] = {}
        self._passed: list[tuple[datetime, int]] = []

    def watch(self, monitor: Monitor) -> None:
        self._monitor = monitor
        monitor.wrap(loop, "_claim", self._before_claiming, self._after_claiming)
        monitor.wrap(gate, "claim", lambda *_, **__: None, self._note_passed)

    def clients(self) -> list[Client]:
        return [Client(range(1, 1 + world().rng.randint(2, 4)), _call)]

    def choices(self) -> Sequence[Choice]:
        return (_pause, _drain, _drain, _resume, _reset, _limit, _limit, _unlimit)

    def is_at_rest(self) -> bool:
        """Each worker knows by its next heartbeat what operators limited."""
        limited = set(Gate.objects.filter(overridden_at__isnull=False).values_list("name", flat=True))
        workers = [each.globals for each in self._monitor.world.processes if each.role == "worker"]
        return all(each["gated"] == limited for each in workers if each.get("mine"))

    def _before_claiming(self, consumer: Consumer, token: UUID, worker: UUID, limit: int, turn: int) -> None:
        """Look inside the transaction of the gate, before anything is claimed."""
        now = clock.now()
        self._asked_at[token] = now
        if consumer.name == METERED or (consumer.name == FREE and _is_limited_for(worker)):
            running = set(_held(consumer.name).values_list("claim_token", flat=True))
            if len(running) >= AT_ONCE:
                self._monitor.say(f"limit {consumer.name} is claimed beside {len(running)} claims")
        if consumer.name == CALLER:
            self._look_at_breaker(token, worker, limit, now)

    def _look_at_breaker(self, token: UUID, worker: UUID, limit: int, now: datetime) -> None:
        row = Gate.objects.get(id=f"consumer:{CALLER}")
        if row.opened_at is None:
            return
        if row.open_until is None or row.open_until > now:
            self._monitor.say(f"limit {CALLER} is claimed while its breaker is open")
        if limit != 1:
            self._monitor.say(f"limit {CALLER} sends a probe of {limit}")
        heard = now - timedelta(seconds=options().stale_after_seconds)
        for other, owner in self._probes.items():
            is_alive = Worker.objects.filter(id=owner, heartbeat_at__gte=heard).exists()
            if is_alive and Delivery.objects.filter(claim_token=other).exists():
                self._monitor.say(f"limit {CALLER} sends a second probe beside {other}")
        self._probes[token] = worker

    def _after_claiming(self, count: int, consumer: Consumer, token: UUID, *_: Any) -> None:
        if not count or consumer.name not in (CALLER, METERED):
            return
        now, row = clock.now(), ConsumerState.objects.get(name=consumer.name)
        if row.paused_at and (row.paused_until is None or row.paused_until > now):
            self._monitor.say(f"limit {consumer.name} is claimed while it is paused")
        if row.drain_at and Delivery.objects.filter(claim_token=token, created_at__gt=row.drain_at).exists():
            self._monitor.say(f"limit {consumer.name} is claimed beyond the beginning of its drain")

    def _note_passed(self, claim: gate.Claim, consumer: Consumer, *, token: UUID, **_: Any) -> None:
        """A claim whose transaction committed: what was rolled back gave its tokens back."""
        if claim.count and consumer.name == METERED:
            self._passed.append((self._asked_at[token], claim.count))

    def violations(self, facts: Facts) -> Iterator[str]:
        sent = set(Sent.objects.filter(what="call").values_list("message_id", flat=True))
        if sent != set(Message.objects.filter(type="cast.Called", causation_id=None).values_list("id", flat=True)):
            yield "I1 calls that were sent and stored differ"
        for name in (CALLER, METERED, FREE):
            ended = {
                *Attempt.objects.filter(consumer=name, outcome="handled").values_list("message_id", flat=True),
                *DeadLetter.objects.filter(consumer=name).values_list("message_id", flat=True),
            }
            if lost := sent - ended:
                yield f"I10 {name} never ended {len(lost)} calls"
        claims = sorted(self._passed)  # one that stalled after its commit was noted when it went on
        for first, last in combinations_with_replacement(range(len(claims)), 2):
            begins, ends = claims[first][0], claims[last][0]
            passed = sum(count for _, count in claims[first : last + 1])
            most = RATE.size + RATE.per_second * (ends - begins).total_seconds()
            if passed > most + 0.01:
                yield f"limit {METERED} passed {passed} from {begins} to {ends}, at most {most:.2f} may"
                return


def _is_limited_for(worker: UUID) -> bool:
    """Say whether an operator limits FREE and the worker at hand has heard of it, or began after it."""
    limited = Gate.objects.filter(name=FREE, overridden_at__isnull=False)
    if gate.is_gated(Gates.consumers[2]):
        return limited.exists()
    return Worker.objects.filter(id=worker, started_at__gt=limited.values("overridden_at")[:1]).exists()


def _held(name: str) -> Any:
    return Delivery.objects.filter(consumer=name, claim_token__isnull=False)


def _call(number: int) -> None:
    """Send a burst."""
    for turn in range(2):
        with transaction.atomic():
            message_id = publish(Called(number=number))
            Sent.objects.create(what="call", number=number * 10 + turn, message_id=message_id, at=clock.now())


# ── Operators ──


def _either() -> str:
    return world().rng.choice((CALLER, METERED))


def _pause(actor: Actor, request: Callable[[], str]) -> Act:
    until = clock.now() + timedelta(seconds=world().rng.uniform(1, 10))
    return partial(pause_consumer, name=_either(), actor=actor, reason="Wait.", until=until, request_id=request())


def _drain(actor: Actor, request: Callable[[], str]) -> Act:
    return partial(drain_consumer, name=_either(), actor=actor, reason="A release goes.", request_id=request())


def _resume(actor: Actor, request: Callable[[], str]) -> Act:
    return partial(resume_consumer, name=_either(), actor=actor, request_id=request())


def _reset(actor: Actor, request: Callable[[], str]) -> Act:
    return partial(reset_breaker, kind="consumer", name=CALLER, actor=actor, reason="It is back.", request_id=request())


def _limit(actor: Actor, request: Callable[[], str]) -> Act:
    return partial(
        override_limits, name=FREE, actor=actor, reason="It is slow.", concurrency=AT_ONCE, request_id=request()
    )  # fmt: skip


def _unlimit(actor: Actor, request: Callable[[], str]) -> Act:
    return partial(clear_override, name=FREE, actor=actor, reason="It is back.", request_id=request())
