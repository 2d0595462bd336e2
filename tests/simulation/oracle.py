"""What must be true when everything has come to rest, counted from the tables (see docs/guarantees.md)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Count, Sum

from messaging import payloads
from messaging.errors import BodyUnavailable
from messaging.models import (
    Attempt,
    AuditRecord,
    CancelledMessage,
    DeadLetter,
    Delivery,
    Message,
    OutboxEntry,
    ReceivedMessage,
    Rollup,
    RollupDelta,
    ScheduledMessage,
    Total,
)
from messaging.rollups import BATCHES
from messaging.settings import options
from messaging.verification import verify
from tests.simulation.cast import plans
from tests.simulation.cast.consumers import BOOKING_CONSUMERS, GUARANTEES, LANE, LATER, MOST, SKIPPING, SOON
from tests.simulation.cast.models import Booking, Effect
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.parts.part import Part

Run = tuple[str, UUID, int]
SETTLED = ("handled", "ignored")


def counts() -> Counter[str]:
    """Count what a run was made of."""
    found = Counter(dict(Attempt.objects.values_list("outcome").annotate(n=Count("id"))))
    return found + Counter(messages=Message.objects.count(), operations=AuditRecord.objects.count())


def leftovers() -> list[str]:
    """I10: nothing waits and nothing is claimed."""
    found = [
        f"I10 {left} rows are left in {model._meta.db_table}"
        for model in (OutboxEntry, ScheduledMessage, Delivery, RollupDelta)
        if (left := model.objects.count())
    ]
    held = Delivery.objects.filter(claim_token__isnull=False)
    return found + [f"I10 {row.consumer} still has {row.message_id} claimed" for row in held]


def violations(world: World, taking_part: Sequence[Part] = ()) -> list[str]:
    """Return in words what does not hold, each with the id of its invariant."""
    facts = Facts(world, taking_part)
    checks = (
        leftovers, _verified, _published, _received, facts.ends, facts.effects, facts.follow_ups, facts.bounds, _order,
        _operators, _counters,
    )  # fmt: skip
    found = [violation for check in checks for violation in check()]
    return found + [violation for part in taking_part for violation in part.violations(facts)]


def _verified() -> Iterator[str]:
    report = verify()
    yield from (f"I1 lost: {each}" for each in report.lost)
    yield from (f"I2 duplicated: {each}" for each in report.duplicated)
    yield from (f"I5 {each}" for invariant in report.invariants for each in invariant.violations)


def bodies(**condition: Any) -> dict[UUID, dict[str, Any]]:
    rows = Message.objects.filter(**condition).values_list("id", "body", "blob")
    return {id: _read(bytes(body), blob) for id, body, blob in rows}


def _read(body: bytes, blob: dict[str, Any] | None) -> dict[str, Any]:
    with suppress(BodyUnavailable):  # that is for the part of large bodies to say
        found: dict[str, Any] = json.loads(payloads.content(body, blob))
        return found
    return {}


def _published() -> Iterator[str]:
    """I1: a message exists if and only if its producer's transaction committed."""
    booked = set(Booking.objects.values_list("number", "message_id"))
    published = {
        (body["number"], id) for id, body in bodies(type="cast.Booked", source="signalbox", causation_id=None).items()
    }
    for number, id in booked ^ published:
        yield f"I1 booking {number} is {'lost' if (number, id) in booked else 'seen, though it was rolled back'}"


def _received() -> Iterator[str]:
    """What came from outside under one id was published once."""
    ids = dict(ReceivedMessage.objects.values_list("message_id", "external_id"))
    published = {
        id: body["number"] for id, body in bodies(type="cast.Booked", source="outside", causation_id=None).items()
    }
    for number, times in Counter(published.values()).items():
        if times > 1:
            yield f"I2 number {number} came from outside and was published {times} times"
    if set(ids) != set(published):
        yield f"I1 received and published differ: {len(ids)} and {len(published)}"


class Facts:
    """What the tables say of each run of each message at each consumer."""

    def __init__(self, world: World, taking_part: Sequence[Part]) -> None:
        self._guarantees = GUARANTEES.copy()
        self._echoing = {*BOOKING_CONSUMERS}
        for part in taking_part:
            self._guarantees |= part.guarantees
            self._echoing |= {*part.echoing}
        self._losses = world.faults["deaths"] + world.faults["stalls"]
        self._cuts = world.faults["cuts"]
        self._bodies = bodies()
        self._expiries = dict(Message.objects.exclude(expires_at=None).values_list("id", "expires_at"))
        self._dead: dict[Run, DeadLetter] = {
            (row.consumer, row.message_id, row.run): row for row in DeadLetter.objects.all()
        }
        self._attempts: defaultdict[Run, list[tuple[int, str]]] = defaultdict(list)
        rows = Attempt.objects.order_by("started_at", "number")
        for consumer, id, run, number, outcome in rows.values_list(
            "consumer", "message_id", "run", "number", "outcome"
        ):
            self._attempts[consumer, id, run].append((number, outcome))
        self._effects = Counter(Effect.objects.values_list("consumer", "message_id", "run"))
        self._runs = {*self._attempts, *self._dead}

    def _count(self, key: Run, *outcomes: str) -> int:
        return sum(outcome in outcomes for _, outcome in self._attempts.get(key, ()))

    def plan(self, key: Run) -> str:
        given = self._bodies[key[1]].get("plans", {})
        assert isinstance(given, dict)
        return plans.of_run(given, key[0], key[2])

    def ends(self) -> Iterator[str]:
        """I1: every run ended, once, in the way of its plan."""
        for key in sorted(self._runs, key=str):
            consumer, id, run = key
            settled, dead = self._count(key, *SETTLED, "filtered"), self._dead.get(key)
            name = f"{consumer} run {run} of {id} ({self.plan(key)})"
            if settled + (dead is not None) != 1:
                yield f"I1 {name} ended {settled} times and {'also ' if dead else 'not '}dead"
                continue
            if consumer not in self._guarantees or self._count(key, "filtered"):
                continue
            expected = self._expected(key)
            found = dead.reason if dead else self._ending(key)
            if found != expected and not self._may_end_as(found, expected, key):
                yield f"I1 {name} ended as {found}, not {expected}"
        for consumer, id, run in self._runs:
            if run > 1 and (consumer, id, run - 1) not in self._dead:
                yield f"I1 {consumer} has run {run} of {id} without a dead letter before it"

    def _expected(self, key: Run) -> str:
        plan, guarantee = self.plan(key), self._guarantees[key[0]]
        if plan == "later" and guarantee == "at_most_once" and self._was_late(key):
            return "handled"  # it came when there was nothing left to wait for: delayed, held back, or after a stall
        return plans.ending(plan, guarantee)

    def _was_late(self, key: Run) -> bool:
        """Say whether the run began after the moment that ``later`` waits for."""
        done = Effect.objects.filter(consumer=key[0], message_id=key[1], run=key[2]).first()
        return done is not None and done.at >= Message.objects.get(id=key[1]).published_at + LATER

    def _may_end_as(self, found: str, expected: str, key: Run) -> bool:
        """Say whether faults from outside explain another end than the plan's."""
        if found == "crash_loop":
            return self._losses >= options().crash_limit
        if found == "expired":
            return self._dead[key].dead_at >= self._expiries[key[1]]
        if found == "exhausted" and self._dead[key].error_type == "StorageUnavailable":
            return True
        if key[0] == MOST:  # it runs after its outcome is settled, so it dies or loses its connection unnoticed
            return {found, expected} == {"handled", "dropped"} and self._cuts + self._losses > 0
        return False

    def _ending(self, key: Run) -> str:
        if self._count(key, "dropped"):
            return "dropped"
        return "ignored" if self._count(key, "ignored") else "handled"

    def effects(self) -> Iterator[str]:
        """I2: as many effects as the guarantee says."""
        for key in {*self._effects, *self._runs}:
            found, handled = self._effects[key], self._count(key, "handled")
            guarantee = self._guarantees.get(key[0])
            if guarantee == "exactly_once" and found != handled:
                yield f"I2 {key}: {found} effects, handled {handled} times"
            if guarantee == "at_least_once" and found < handled:
                yield f"I2 {key}: {found} effects, handled {handled} times"
            if guarantee == "at_most_once" and found > 1:
                yield f"I2 {key}: {found} effects at most once"

    def follow_ups(self) -> Iterator[str]:
        """I3: a follow-up for each handled run and for nothing else."""
        found: Counter[Run] = Counter()
        causes = dict(Message.objects.filter(type="cast.Echoed").values_list("id", "causation_id"))
        for id, cause in causes.items():
            body = self._bodies[id]
            found[str(body["by"]), UUID(str(cause)), int(str(body["run"]))] += 1
        for key in {*found, *self._runs}:
            if key[0] not in self._echoing:
                continue
            expected = self._count(key, "handled")
            if found[key] != expected and not (key[0] == MOST and found[key] == 0):
                yield f"I3 {key}: {found[key]} follow-ups, handled {expected} times"

    def bounds(self) -> Iterator[str]:
        """I7: attempts are numbered upwards and end."""
        most = 1 + SOON.immediate + len(SOON.delays) + options().crash_limit
        for key, attempts in self._attempts.items():
            numbers = [number for number, _ in attempts]
            if max(numbers) > most or numbers != sorted(numbers):
                yield f"I7 {key}: attempts {numbers}"
            crashed = self._count(key, "crashed")
            if crashed > self._losses:
                yield f"I7 {key}: {crashed} crashes, but {self._losses} processes were lost"


def _order() -> Iterator[str]:
    """I4: per key, first runs took effect in the order of their positions.

    The order of ``block`` ends where an operator released the key; a dead letter's later runs come when they come.
    """
    keyed = Message.objects.filter(causation_id=None, key__isnull=False, position__isnull=False)
    positions: dict[UUID, int] = {}
    keys: dict[UUID, str] = {}
    for id, key, position in keyed.values_list("id", "key", "position"):
        keys[id], positions[id] = str(key), int(position or 0)
    latest: dict[tuple[str, str], int] = {}
    done = Effect.objects.filter(consumer__in=(LANE, SKIPPING), run=1).order_by("id")
    for consumer, id in done.values_list("consumer", "message_id"):
        if id not in keys:
            continue
        lane = consumer, keys[id]
        if positions[id] < latest.get(lane, 0):
            yield f"I4 {consumer} did position {positions[id]} of {keys[id]} after {latest[lane]}"
        latest[lane] = max(positions[id], latest.get(lane, 0))
    yield from _blocked(keys, positions)


def _blocked(keys: dict[UUID, str], positions: dict[UUID, int]) -> Iterator[str]:
    """I4: nothing behind a dead letter of the blocking consumer ran before it was resolved or released."""
    releases = AuditRecord.objects.filter(action="consumer.release_key", outcome="done").values_list("details", "at")
    handled = list(Attempt.objects.filter(consumer=LANE, outcome="handled").values_list("message_id", "started_at"))
    for row in DeadLetter.objects.filter(consumer=LANE, message_id__in=keys).exclude(position=None):
        freed = [at for details, at in releases if details["key"] == row.key and at >= row.dead_at]
        freed += [row.resolved_at] if row.resolved_at else []
        for id, at in handled:
            is_behind = keys.get(id) == row.key and positions.get(id, 0) > (row.position or 0)
            if is_behind and at > row.dead_at and not any(moment <= at for moment in freed):
                yield f"I4 {LANE} did position {positions[id]} of {row.key} behind a dead letter at {row.position}"


def _operators() -> Iterator[str]:
    """I8, I9: each change by an operator has its record, and a request was carried out once."""
    done = AuditRecord.objects.filter(outcome="done", actor_kind="command")
    for request, target, times in (
        done.exclude(request_id="").values_list("request_id", "target").annotate(n=Count("id"))
    ):
        if times > 1:
            yield f"I9 request {request} was carried out {times} times on {target}"
    by_action = Counter(done.values_list("action", flat=True))
    replayed = {
        *Attempt.objects.filter(run__gt=1).values_list("message_id", "consumer", "run"),
        *DeadLetter.objects.filter(run__gt=1).values_list("message_id", "consumer", "run"),
    }
    if by_action["dead_letter.replay"] != len(replayed):
        yield f"I8 {by_action['dead_letter.replay']} replays are recorded, {len(replayed)} later runs found"
    copies = DeadLetter.objects.exclude(copy_id=None).values_list("copy_id", flat=True)
    if by_action["dead_letter.resubmit"] < len(set(copies)):
        yield f"I8 {by_action['dead_letter.resubmit']} copies recorded, {len(set(copies))} found"
    discarded = DeadLetter.objects.filter(state=DeadLetter.State.DISCARDED).count()
    if by_action["dead_letter.discard"] != discarded:
        yield f"I8 {by_action['dead_letter.discard']} discards recorded, {discarded} found"
    stranded = DeadLetter.objects.filter(state=DeadLetter.State.REPLAYING).count()
    if stranded:
        yield f"I10 {stranded} dead letters are replaying, and nothing is on its way"


def _counters() -> Iterator[str]:
    """I11: totals and minutes say what a recount says."""
    recount = Counter(Attempt.objects.values_list("consumer", "outcome"))
    recount["", "published"] = Message.objects.count() - CancelledMessage.objects.count()
    made = {
        *Attempt.objects.exclude(outcome="filtered").values_list("message_id", "consumer", "run"),
        *DeadLetter.objects.values_list("message_id", "consumer", "run"),
    }
    recount.update((consumer, "relayed") for _, consumer, _ in made)
    for model in (Total, Rollup):
        rows = model.objects.values_list("consumer", "outcome").annotate(sum=Sum("count"))
        # How often something was rescued, or a batch was called, is told by its counter alone.
        alone = ("rescued", BATCHES)
        shown = {(consumer, outcome): count for consumer, outcome, count in rows if count and outcome not in alone}
        expected = {key: count for key, count in recount.items() if count}
        if shown != expected:
            yield f"I11 {model.__name__}: {set(shown.items()) ^ set(expected.items())}"
