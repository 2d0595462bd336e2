"""Count from the tables what became of every line of the ledger, as Jepsen does for a queue."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from datetime import datetime
from uuid import UUID

from tests.chaos.client import DELAY, repair_id
from tests.chaos.counts import Count
from tests.chaos.ledger import Entries
from tests.sweep import recount
from tests.sweep.journey.consumers import BOARD, CHARGE, GREET, HOLD_SEAT, PRINT_TICKET

Pair = tuple[str, UUID]
SLOW = 10


class Tables:
    """The rows that matter, read once."""

    def __init__(self) -> None:
        from messaging.models import Attempt, DeadLetter, Message
        from tests.sweep.journey.models import Effect, Trip

        self.trips: dict[int, tuple[str, UUID]] = {
            number: (kind, message)
            for number, kind, message in Trip.objects.values_list("number", "kind", "message_id")
        }
        self.handled: Counter[Pair] = Counter()
        self.runs: Counter[tuple[str, UUID, int]] = Counter()
        self.attempts: Counter[str] = Counter()
        rows = Attempt.objects.filter(consumer__startswith="journey.")
        for consumer, message, run, outcome in rows.values_list("consumer", "message_id", "run", "outcome").iterator():
            self.attempts[outcome] += 1
            if outcome == "handled":
                self.handled[consumer, message] += 1
                self.runs[consumer, message, run] += 1
        self.effects: Counter[tuple[str, UUID, int]] = Counter(
            Effect.objects.values_list("consumer", "message_id", "run").iterator()
        )
        self.dead: dict[Pair, str] = {
            (consumer, message): state
            for consumer, message, state in DeadLetter.objects.order_by("run").values_list(
                "consumer", "message_id", "state"
            )
        }
        self.reasons = Counter(DeadLetter.objects.values_list("reason", flat=True))
        self.published: Counter[UUID] = Counter()
        self.types: dict[UUID, str] = {}
        self.copies: defaultdict[UUID, list[UUID]] = defaultdict(list)
        for message, type_, cause in Message.objects.values_list("id", "type", "causation_id").iterator():
            self.types[message] = type_
            if type_ == "journey.TripBooked" and cause:
                self.copies[UUID(cause)].append(message)


def count(entries: Entries) -> Count:
    """Resolve the ledger against the tables. Needs Django, set up on the database itself."""
    tables = Tables()
    found = Count(attempted=len(entries.kinds), messages=len(tables.types), attempts=dict(tables.attempts))
    found.deliveries = sum(tables.handled.values())
    found.dead_letters = dict(tables.reasons)
    _resolve(entries, tables, found)
    for number, (kind, message) in tables.trips.items():
        for why in _lost(kind, message, tables):
            found.lost += 1
            found.violations.append(f"I1 lost: trip {number} ({kind}) {why}")
    for message, type_ in tables.types.items():
        if type_ == "journey.SeatHeld" and not tables.handled[PRINT_TICKET, message]:
            found.lost += 1
            found.violations.append(f"I1 lost: the ticket for {message} was never printed")
    _effects(tables, found)
    _operations(found)
    _punctuality(tables, found)
    found.violations += [
        *recount.verified(),
        *recount.follow_ups(),
        *recount.order(),
        *recount.leases(),
        *recount.counters(),
    ]
    _times(found)
    return found


def _resolve(entries: Entries, tables: Tables, found: Count) -> None:
    committed = set(tables.trips)
    acknowledged, refused = entries.with_answer("acknowledged"), entries.with_answer("refused")
    unknown = entries.with_answer("unknown")
    found.acknowledged, found.refused = len(acknowledged), len(refused)
    found.unknown_committed, found.unknown_rolled_back = len(unknown & committed), len(unknown - committed)
    found.recovered = found.unknown_committed
    for number in sorted(acknowledged - committed):
        found.lost += 1
        found.violations.append(f"I1 lost: trip {number} was acknowledged, and is in no table")
    for number in sorted((refused & committed) | (committed - set(entries.kinds))):
        found.unexpected += 1
        found.violations.append(f"I1 unexpected: trip {number} was rolled back, and is in the tables")
    published = sum(type_ == "journey.TripBooked" for type_ in tables.types.values())
    if published != len(committed) + sum(map(len, tables.copies.values())):
        found.violations.append(f"I1 unexpected: {published} bookings published for {len(committed)} trips")


def _lost(kind: str, message: UUID, tables: Tables) -> list[str]:
    """Return what a committed trip still lacks: every consumer must have reached its end."""
    lacks = [f"was not settled by {name}" for name in (CHARGE, GREET, BOARD) if not tables.handled[name, message]]
    if kind == "discarded":
        is_ended = tables.dead.get((HOLD_SEAT, message)) == "discarded"
    elif kind == "resubmitted":
        copies = tables.copies[message]
        is_ended = len(copies) == 1 and bool(tables.handled[HOLD_SEAT, copies[0]])
    else:
        is_ended = bool(tables.handled[HOLD_SEAT, message])
    return lacks if is_ended else [*lacks, "never came to its end at journey.hold_seat"]


def _effects(tables: Tables, found: Count) -> None:
    """I2, for each guarantee what it promises."""
    for (consumer, message), handled in tables.handled.items():
        if handled > 1:
            found.duplicated += 1
            found.violations.append(f"I2 duplicated: {consumer} handled {message} {handled} times")
    for key in {*tables.runs, *tables.effects}:
        consumer, done, handled = key[0], tables.effects[key], tables.runs[key]
        if consumer in (HOLD_SEAT, PRINT_TICKET, BOARD) and done != handled:
            found.duplicated += done > handled
            found.lost += done < handled
            found.violations.append(f"I2 {consumer}: {done} effects, {handled} handled, of {key[1]} run {key[2]}")
        if consumer == CHARGE:
            found.repeated_at_least_once += max(0, done - 1)
            if handled and not done:
                found.lost += 1
                found.violations.append(f"I2 lost: {consumer} handled {key[1]} without an effect")
        if consumer == GREET:
            found.skipped_at_most_once += not done
            if done > 1:
                found.duplicated += 1
                found.violations.append(f"I2 duplicated: {consumer} greeted {done} times for {key[1]}")


def _punctuality(tables: Tables, found: Count) -> None:
    """A message that waits for its time is never handled before."""
    from messaging.models import Message
    from tests.sweep.journey.models import Effect

    delayed = {message for kind, message in tables.trips.values() if kind == "delayed"}
    published = dict(Message.objects.filter(id__in=delayed).values_list("id", "published_at"))
    for message, moment in Effect.objects.filter(message_id__in=delayed).values_list("message_id", "done_at"):
        if moment < published[message] + DELAY:
            found.violations.append(f"a message due {DELAY} after {published[message]} was handled at {moment}")


def _operations(found: Count) -> None:
    """I8 and I9: every repair left its record, and happened once, however often it was asked for."""
    from messaging import chain
    from messaging.models import AuditRecord, DeadLetter

    if not chain.check_chain(by="chaos").is_sound:
        found.violations.append("I8 the audit chain does not verify")
    carried_out = Counter(AuditRecord.objects.filter(outcome="done").values_list("request_id", flat=True))
    for request, times in carried_out.items():
        if times != 1:
            found.violations.append(f"I9 request {request} was carried out {times} times")
    for id in DeadLetter.objects.exclude(state="open").values_list("id", flat=True):
        if repair_id(id) not in carried_out:
            found.violations.append(f"I8 dead letter {id} was repaired without a record")


def _times(found: Count) -> None:
    """The longest time in which nothing at all was done, and the longest that one first run waited for its end."""
    from messaging.models import Message
    from tests.sweep.journey.models import Effect

    published = dict(Message.objects.values_list("id", "published_at").iterator())
    last: datetime | None = None
    waits: list[tuple[float, str, UUID]] = []
    rows = Effect.objects.order_by("done_at").values_list("done_at", "consumer", "message_id", "run")
    for moment, consumer, message, run in rows.iterator():
        if last is not None:
            found.longest_stall = max(found.longest_stall, (moment - last).total_seconds())
        if run == 1:
            waits.append(((moment - published[message]).total_seconds(), consumer, message))
        last = moment
    slowest = heapq.nlargest(SLOW, waits)
    found.slowest = slowest[0][0] if slowest else 0.0
    found.slow = [
        f"{wait:.1f} s: {consumer} {message}: {_attempts(consumer, message)}" for wait, consumer, message in slowest
    ]


def _attempts(consumer: str, message: UUID) -> str:
    from messaging.models import Attempt

    rows = Attempt.objects.filter(consumer=consumer, message_id=message).order_by("id")
    return ", ".join(f"{row.number} {row.outcome} {row.started_at:%H:%M:%S} {row.worker}" for row in rows)
