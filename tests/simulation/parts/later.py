"""Later: recurring schedules with several relays that fire, and messages that operators cancel or hasten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction

from messaging import Context, Event, clock, consumer, publish, recurring
from messaging.actors import Actor
from messaging.models import (
    Attempt,
    AuditRecord,
    CancelledMessage,
    Message,
    Schedule,
    ScheduledMessage,
    ScheduleFiring,
)
from messaging.operations import (
    cancel_messages,
    fire_schedule,
    hasten_messages,
    pause_schedule,
    resume_schedule,
)
from messaging.scheduling.recurring import Missed, forget_schedule
from messaging.scheduling.synchronising import rule_of
from tests.simulation.actors import Client
from tests.simulation.cast.consumers import SOON
from tests.simulation.cast.models import Effect, Sent
from tests.simulation.oracle import Facts, bodies
from tests.simulation.parts.part import Act, Choice, Part, taken_out
from tests.simulation.stage import world
from tests.simulation.world import EPOCH

TICKER, NUDGED = "cast.ticker", "cast.nudged"
EACH, NEWEST = "cast.each", "cast.newest"
SCHEDULES: dict[str, tuple[int, Missed]] = {EACH: (11, "all"), NEWEST: (17, "one")}
"""Seconds from one due time to the next, and what becomes of those that were missed."""


class Ticked(Event, version=1, name="cast.Ticked"):
    schedule: str
    due_at: datetime


class Nudged(Event, version=1, name="cast.Nudged"):
    number: int


@consumer(Ticked, name=TICKER, retry=SOON)
def tick(event: Ticked, context: Context) -> None:
    _note(context)


@consumer(Nudged, name=NUDGED, retry=SOON)
def nudged(event: Nudged, context: Context) -> None:
    _note(context)


def _note(context: Context) -> None:
    Effect.objects.create(consumer=context.consumer, message_id=context.message_id, run=context.run, at=clock.now())


def _maker(name: str) -> Callable[[datetime], Ticked]:
    return lambda due_at: Ticked(schedule=name, due_at=due_at)


class Later(Part):
    consumers = taken_out(TICKER, NUDGED)
    guarantees: ClassVar[dict[str, str]] = {TICKER: "exactly_once", NUDGED: "exactly_once"}

    def __init__(self) -> None:
        self._since: datetime | None = None
        self._is_closed = False

    def enter(self) -> None:
        super().enter()
        for name, (seconds, missed) in SCHEDULES.items():
            recurring(name, _maker(name), every=seconds, missed=missed, missed_limit=1000)

    def leave(self) -> None:
        super().leave()
        for name in SCHEDULES:
            forget_schedule(name)

    def clients(self) -> list[Client]:
        return [Client(range(1, 1 + world().rng.randint(2, 4)), _nudge)]

    def choices(self) -> Sequence[Choice]:
        return (_cancel, _cancel, _hasten, _pause, _resume, _fire)

    def is_at_rest(self) -> bool:
        """Hold the schedules once each has fired what was due when the faults stopped."""
        self._since = self._since or clock.now()
        running = Schedule.objects.filter(name__in=SCHEDULES, paused_at=None)
        if not self._is_closed and not running.filter(next_at__lte=self._since).exists():
            running.update(paused_at=clock.now())
            self._is_closed = True
        return self._is_closed

    def violations(self, facts: Facts) -> Iterator[str]:
        yield from _scheduled()
        for name in SCHEDULES:
            yield from _fired(name)


def _nudge(number: int) -> None:
    with transaction.atomic():
        delay = timedelta(seconds=world().rng.uniform(2, 25))
        due_at = clock.now() + delay
        message_id = publish(Nudged(number=number), at=due_at)
        Sent.objects.create(what="nudge", number=number, message_id=message_id, at=due_at)


# ── Operators ──


def _some() -> list[UUID]:
    """Choose scheduled messages; sometimes one that fired or was cancelled since the page was rendered."""
    rng = world().rng
    types = ("cast.Nudged", "cast.Booked")
    waiting = ScheduledMessage.objects.filter(type__in=types).order_by("message_id")
    found = list(waiting.values_list("message_id", flat=True))
    if rng.random() < 0.2:
        found += Sent.objects.filter(what="nudge").order_by("number").values_list("message_id", flat=True)
    return list(dict.fromkeys(rng.sample(found, min(len(found), rng.randint(1, 2)))))


def _cancel(actor: Actor, request: Callable[[], str]) -> Act | None:
    ids = _some()
    world().note(f"cancels {len(ids)}")
    return partial(cancel_messages, ids=ids, actor=actor, reason="No more.", request_id=request()) if ids else None


def _hasten(actor: Actor, request: Callable[[], str]) -> Act | None:
    ids = _some()
    world().note(f"hastens {len(ids)}")
    return partial(hasten_messages, ids=ids, actor=actor, request_id=request()) if ids else None


def _pause(actor: Actor, request: Callable[[], str]) -> Act:
    name = world().rng.choice(sorted(SCHEDULES))
    return partial(pause_schedule, name=name, actor=actor, reason="Wait.", request_id=request())


def _resume(actor: Actor, request: Callable[[], str]) -> Act | None:
    held = Schedule.objects.filter(paused_at__isnull=False).order_by("name").first()
    return partial(resume_schedule, name=held.name, actor=actor, request_id=request()) if held else None


def _fire(actor: Actor, request: Callable[[], str]) -> Act:
    name = world().rng.choice(sorted(SCHEDULES))
    return partial(fire_schedule, name=name, actor=actor, reason="Now.", request_id=request())


# ── What must be true ──


def _scheduled() -> Iterator[str]:
    """A scheduled message was delivered or cancelled, never both, never neither, never before its time."""
    done = AuditRecord.objects.filter(outcome="done")
    cancelled = dict(CancelledMessage.objects.values_list("message_id", "cancelled_by"))
    # Of several the last one written stays, which is the earliest.
    begun = dict(Attempt.objects.order_by("-started_at").values_list("message_id", "started_at"))
    for id in cancelled.keys() & begun.keys():
        yield f"I1 {id} was cancelled by {cancelled[id]}, and delivered"
    hastened = dict(done.filter(action="message.hasten").order_by("-at").values_list("target", "at"))
    stored = set(Message.objects.filter(type="cast.Nudged").values_list("id", flat=True))
    for sent in Sent.objects.filter(what="nudge"):
        if sent.message_id not in begun and sent.message_id not in cancelled:
            yield f"I1 nudge {sent.number} was neither delivered nor cancelled"
        came_at = begun.get(sent.message_id)
        if came_at and came_at < min(sent.at, hastened.get(f"message:{sent.message_id}", sent.at)):
            yield f"I1 nudge {sent.number} came at {came_at}, before its time {sent.at}"
        stored.discard(sent.message_id)
    yield from (f"I1 nudge {id} was sent, though it was rolled back" for id in stored)
    by_people = sum(name.startswith("operator") for name in cancelled.values())
    recorded = done.filter(action="message.cancel").count()
    if by_people != recorded:
        yield f"I8 {recorded} messages are recorded as cancelled by operators, {by_people} found"


def _fired(name: str) -> Iterator[str]:
    """Each due time fired once, except what the policy or a pause leaves out."""
    row = Schedule.objects.get(name=name)
    firings = list(ScheduleFiring.objects.filter(schedule=name).order_by("fired_at", "due_at"))
    by_time = [each for each in firings if not each.fired_by]
    told = bodies(type="cast.Ticked", causation_id=None)
    due_of = {id: datetime.fromisoformat(body["due_at"]) for id, body in told.items() if body["schedule"] == name}
    for due_at in set(due_of.values()):
        times = sum(each == due_at for each in due_of.values())
        if times > 1:
            yield f"I2 {name} fired {times} times for {due_at}"
    if due_of != {each.message_id: each.due_at for each in firings}:
        yield f"I8 {name} published {len(due_of)} messages, {len(firings)} firings are noted"
    if row.fired != len(due_of):
        yield f"I11 {name} counts {row.fired} firings, {len(due_of)} found"
    early = [each for each in by_time if each.fired_at < each.due_at]
    yield from (f"I1 {name} fired at {each.fired_at}, before {each.due_at}" for each in early)
    assert row.next_at is not None
    wanted = [each for each in _due_times(row) if not _is_paused_away(each, by_time, _pauses(name))]
    found = {each.due_at for each in by_time}
    if extra := found - set(wanted):
        yield f"I1 {name} fired for {sorted(extra)}, which were not due"
    if len(found) + row.skipped != len(wanted) or (row.missed == "all" and row.skipped):
        yield f"I1 {name} fired for {len(found)} and skipped {row.skipped} of {len(wanted)} due times"


def _due_times(row: Schedule) -> Iterator[datetime]:
    return takewhile(lambda due: row.next_at is not None and due < row.next_at, rule_of(row).after(EPOCH))


def _pauses(name: str) -> list[tuple[datetime, datetime]]:
    """Return from when until when operators held a schedule; the last may have no end."""
    changes = AuditRecord.objects.filter(
        target=f"schedule:{name}", outcome="done", action__in=("schedule.pause", "schedule.resume")
    ).order_by("at", "id")
    times = [(each.action, each.at) for each in changes]
    ends: list[Any] = [at for action, at in times if action == "schedule.resume"]
    begins = [at for action, at in times if action == "schedule.pause"]
    return list(zip(begins, [*ends, datetime.max.replace(tzinfo=EPOCH.tzinfo)], strict=False))


def _is_paused_away(due: datetime, fired: list[ScheduleFiring], pauses: list[tuple[datetime, datetime]]) -> bool:
    """Say whether a pause began before this due time was fired, and ended after it had come."""
    for begins, ends in pauses:
        covered = max((each.due_at for each in fired if each.fired_at <= begins), default=EPOCH)
        if covered < due <= ends:
            return True
    return False
