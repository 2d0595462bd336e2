"""Count from the tables what became of everything, invariant by invariant (see docs/guarantees.md)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from io import StringIO
from uuid import UUID

from django.core.management import call_command
from django.db.models import Sum

from messaging.models import (
    Attempt,
    AuditRecord,
    CancelledMessage,
    DeadLetter,
    Delivery,
    Message,
    OutboxEntry,
    Rollup,
    RollupDelta,
    Total,
)
from messaging.settings import options
from tests.sweep.journey.consumers import BOARD, CHARGE, GREET, HOLD_SEAT, PRINT_TICKET, SOON
from tests.sweep.journey.events import KINDS
from tests.sweep.journey.models import Effect, Trip
from tests.sweep.work import LAST_CHANCE, LEFT_BEHIND, REPAIRS

Key = tuple[str, UUID, int]
BOOKED = len(KINDS) + len((LEFT_BEHIND, LAST_CHANCE))


def violations() -> list[str]:
    """Return in words what does not hold, each with the id of its invariant; empty when all does."""
    return [*verified(), *_ended(), *_effects(), *follow_ups(), *order(), *leases(), *_bounds(), *_audit(), *counters()]


def verified() -> Iterator[str]:
    printed = StringIO()
    try:
        call_command("verify", "--json", stdout=printed)
    except SystemExit:
        report = json.loads(printed.getvalue())
        broken = [each for each in report["invariants"] if not each["holds"]]
        yield from (f"I1 lost: {each}" for each in report["lost"])
        yield from (f"I2 duplicated: {each}" for each in report["duplicated"])
        for each in broken:
            yield f"{'I5' if each['name'].startswith('sagas') else 'I1'} {each['name']}: {each['violations']}"


def _ended() -> Iterator[str]:
    """I1: every trip ended at every consumer in the way of its kind; what was rolled back was never seen."""
    trips = {trip.number: trip for trip in Trip.objects.all()}
    if sorted(trips) != list(range(BOOKED)):
        yield f"I1 booked trips are {sorted(trips)}"
    messages = Message.objects.filter(type="journey.TripBooked").count()
    if messages != BOOKED + 1:  # and the edited copy
        yield f"I1 {messages} bookings were published, not {BOOKED + 1}"
    done_by = handled()
    for trip in trips.values():
        last_run = 2 if trip.kind == "replayed" else 1
        ends = {"resubmitted": "resolved", "discarded": "discarded", "replayed": "resolved"}.get(trip.kind, "")
        ends = "open" if trip.number == LAST_CHANCE else ends
        found = "".join(DeadLetter.objects.filter(message_id=trip.message_id).values_list("state", flat=True))
        if found != ends:
            yield f"I1 trip {trip.number} ({trip.kind}) has dead letters {found!r}, not {ends!r}"
        is_handled = bool(done_by[HOLD_SEAT, trip.message_id, last_run])
        if is_handled == (ends in ("open", "discarded") or trip.kind == "resubmitted"):
            yield f"I1 trip {trip.number} ({trip.kind}) was {'' if is_handled else 'not '}handled at its end"
        for consumer in (CHARGE, GREET, BOARD):
            if done_by[consumer, trip.message_id, 1] != 1:
                yield f"I1 {consumer} settled trip {trip.number} {done_by[consumer, trip.message_id, 1]} times"


def _effects() -> Iterator[str]:
    """I2: exactly once, at least once, at most once; in each case the history says what was done."""
    settled, done = handled(), effects()
    for key in {*settled, *done}:
        consumer, expected, found = key[0], settled[key], done[key]
        if consumer in (HOLD_SEAT, PRINT_TICKET, BOARD) and (found != expected or found > 1):
            yield f"I2 {consumer}: {found} effects and {expected} handled attempts of {key[1]} run {key[2]}"
        if consumer == CHARGE and (expected != 1 or found < 1):
            yield f"I2 {consumer}: {found} effects and {expected} handled attempts of {key[1]}"
        if consumer == GREET and (expected != 1 or found > 1):
            yield f"I2 {consumer}: {found} effects and {expected} handled attempts of {key[1]}"


def effects() -> Counter[Key]:
    return Counter(Effect.objects.values_list("consumer", "message_id", "run"))


def handled() -> Counter[Key]:
    rows = Attempt.objects.filter(outcome="handled", consumer__startswith="journey.")
    return Counter(rows.values_list("consumer", "message_id", "run"))


def follow_ups() -> Iterator[str]:
    """I3: as many follow-ups as handled runs of their cause."""
    for type_, consumer in (("journey.SeatHeld", HOLD_SEAT), ("journey.TripCharged", CHARGE)):
        found = Counter(Message.objects.filter(type=type_).values_list("causation_id", flat=True))
        expected: Counter[str | None] = Counter()
        for (name, message_id, _), count in handled().items():
            expected[str(message_id)] += count if name == consumer else 0
        for cause in {*found, *expected}:
            if found[cause] != expected[cause]:
                yield f"I3 {found[cause]} follow-ups {type_} of {cause}, handled {expected[cause]} times"


def order() -> Iterator[str]:
    """I4: what has a key was handled in the order of its positions, one after another."""
    places = {id: (key, position) for id, key, position in Message.objects.exclude(key=None).values_list(
        "id", "key", "position"
    )}  # fmt: skip
    reached: dict[str, int] = {}
    for message_id in Effect.objects.filter(consumer=BOARD).order_by("id").values_list("message_id", flat=True):
        key, position = places.get(message_id, (None, None))
        if key is None or position is None:
            continue
        if position < reached.get(key, position):
            yield f"I4 {BOARD} handled {message_id} ({key}, {position}) after position {reached[key]}"
        reached[key] = position


def leases() -> Iterator[str]:
    """I6 and I10: no claim and no work is left."""
    for model in (Delivery, OutboxEntry):
        if left := model.objects.count():
            yield f"I10 {left} rows are left in {model._meta.db_table}"
    if held := Delivery.objects.filter(claim_token__isnull=False).count():
        yield f"I6 {held} deliveries are still claimed"


def _bounds() -> Iterator[str]:
    """I7: the numbers of a run's attempts only grow, and end."""
    numbers: defaultdict[Key, list[int]] = defaultdict(list)
    for consumer, message_id, run, number in (
        Attempt.objects.order_by("id").values_list("consumer", "message_id", "run", "number")
    ):  # fmt: skip
        numbers[consumer, message_id, run].append(number)
    most = 1 + SOON.immediate + len(SOON.delays) + options().crash_limit
    for (consumer, message_id, run), found in numbers.items():
        if found != sorted(found) or max(found[-1], len(found)) > most:
            yield f"I7 {consumer}: attempts {found} of {message_id} run {run}"


def _audit() -> Iterator[str]:
    """I8 and I9: each repair was done once and recorded once, however often it was asked for."""
    found = Counter(AuditRecord.objects.filter(outcome="done").values_list("request_id", flat=True))
    if found != Counter(["replay", "resubmit", "discard"]) or len(REPAIRS) != len(found):
        yield f"I8 audit records by request: {dict(found)}"


def counters() -> Iterator[str]:
    """I11: totals and minutes say what a recount says."""
    if left := RollupDelta.objects.count():
        yield f"I11 {left} deltas are not folded"
    recount = Counter(Attempt.objects.values_list("consumer", "outcome"))
    # What was taken back before its time never came to the relay.
    recount["", "published"] = Message.objects.count() - CancelledMessage.objects.count()
    # Every delivery was tried at least once, so the relay made as many as there are runs with an attempt.
    runs = Attempt.objects.exclude(outcome="filtered").values_list("consumer", "message_id", "run").distinct()
    recount.update((consumer, "relayed") for consumer, _, _ in runs.iterator())
    for model in (Total, Rollup):
        rows = model.objects.values_list("consumer", "outcome").annotate(sum=Sum("count"))
        counted = {(consumer, outcome): count for consumer, outcome, count in rows if count}
        # Neither a rescue, unless it was a death alone, nor a batch leaves a row that tells how many there were.
        shown = {key: count for key, count in counted.items() if key[1] not in ("rescued", "batches")}
        if shown != dict(recount):
            yield f"I11 {model.__name__}: shown and recounted differ by {set(shown.items()) ^ set(recount.items())}"
