"""The second work: what goes on beside the delivery path. Each act goes on where a killed one stopped."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management import call_command
from django.db import connection, transaction

from examples.ecommerce.orders.placing import NewOrder, place_order
from examples.ecommerce.traffic import OrderMaker
from messaging import publish
from messaging.chain.verifying import verify_chain
from messaging.consumers import all_consumers
from messaging.database import store
from messaging.database.partitions import ensure_partitions
from messaging.eventstore import building
from messaging.eventstore.projections import all_projections
from messaging.ids import id_at, new_id
from messaging.ingest import ingest
from messaging.maintenance import pause_drained, resume_expired_pauses
from messaging.models import (
    AuditRecord,
    CancelledMessage,
    ConsumerState,
    DeadLetter,
    Delivery,
    HistoryReplay,
    Message,
    OutboxEntry,
    ProjectionBuild,
    QuarantinedMessage,
    Schedule,
    ScheduledMessage,
)
from messaging.operations import (
    DeliveryId,
    cancel_deliveries,
    cancel_messages,
    command_line,
    drain_consumer,
    hasten_deliveries,
    pause_consumer,
    rebuild_projection,
    replay_history,
    requests,
    resume_consumer,
    retry_quarantined,
)
from messaging.payloads import FOLDER, storage
from messaging.pruning import prune
from messaging.replays.advancing import advance_replays
from messaging.scheduling.synchronising import synchronise_schedules
from messaging.subscriptions import synchronise
from tests.sweep import recount, work
from tests.sweep.journey.consumers import CHARGE, GREET
from tests.sweep.journey.events import LUGGAGE, LastCallGiven, LuggageChecked, TicketScanned
from tests.sweep.journey.luggage import CALL, FILM, HEAVE, LOAD, OPEN, SCAN, WEIGH
from tests.sweep.journey.models import Effect, Trip
from tests.sweep.journey.schedules import DAILY

ANA = command_line("ana")
FIRST = 800
"""Number of the first piece of luggage; each is noted as a Trip, in the transaction that publishes it."""
OLD, LATE, CALLED_OFF, LAST_CALL, PARKED = 700, 701, 702, 703, 704
LONG_DUE = datetime(2025, 3, 1, 4, tzinfo=UTC)
LONG_AGO = timedelta(days=60)
SCANS = 4
REQUESTS = ("call off", "hasten", "cancel", "pause", "drain", "resume", "rebuild", "retry")


def begin() -> None:
    """Do everything, with none of the wake-ups of the run before."""
    work.forget_wakeups()
    everything()


def take_over() -> None:
    """Do everything after the death of whoever did it before, as if its lease had run out."""
    work.bury()
    everything()


def everything() -> None:
    """Deploy, publish, receive, operate, replay history, rebuild, prune: alone in one process."""
    station = work.settle_in()
    acts: tuple[Callable[[], Any], ...] = (
        deploy, publish_all, receive, lambda: station.drain(_is_calm), operate, station.drain, rest, station.drain,
        replay, station.drain, project, grow_old, prune,
    )  # fmt: skip
    for act in acts:
        if not work.is_retired():
            act()


def deploy() -> None:
    synchronise(is_deploy=True)
    synchronise_schedules()
    # Once: time passes since the schedule was written.
    Schedule.objects.filter(name=DAILY, fired=0).update(next_at=LONG_DUE)


def publish_all() -> None:
    """Check luggage in, place orders that a saga directs, send what waits and what comes too late."""
    for number, kind in enumerate(LUGGAGE, start=FIRST):
        _once(number, kind, lambda number=number, kind=kind: publish(_piece(number, kind), key="belt"))
    _once(LATE, "late", lambda: publish(TicketScanned(number=LATE), delay=0.05))
    _once(CALLED_OFF, "called off", lambda: publish(TicketScanned(number=CALLED_OFF), delay="1h"))
    _once(LAST_CALL, "last call", lambda: publish(LastCallGiven(number=LAST_CALL), expires_in=0.001))
    waiting = Trip.objects.get(number=CALLED_OFF).message_id
    cancel_messages(ids=[waiting], actor=ANA, reason="It does not run.", request_id="call off")
    for number, failure in enumerate(("", "declined")):
        order = OrderMaker(seed=2, orchestrated_share=1).draft(number, failure=failure)
        place_order(NewOrder.model_validate(order))


def _piece(number: int, kind: str) -> LuggageChecked:
    label = "L" * 5000 if kind == "large" else ""
    return LuggageChecked(number=number, kind=kind, weight=10 if kind == "light" else 30, label=label)


def _once(number: int, kind: str, publish_it: Callable[[], UUID]) -> None:
    if not Trip.objects.filter(number=number).exists():
        with transaction.atomic():
            Trip.objects.create(number=number, kind=kind[:16], message_id=publish_it())


def receive() -> None:
    """Take in what comes from outside, again after a death.

    One line cannot be read, one waited for this release, one has no id of its own but the key of its request.
    """
    ingest(_scan(1), content_type="application/json", source="gate")
    requests.once_committed(
        actor_name=requests.asker(ANA), request_id="scan-4", fingerprint="scan-4", act=_receive_without_id
    )
    with tempfile.NamedTemporaryFile("wb", suffix=".jsonl") as file:
        file.write(_scan(2) + b"\nno line of JSON\n")
        file.flush()
        call_command("ingest", file.name, source="gate", stdout=StringIO())
    if not Trip.objects.filter(number=PARKED).exists():
        with transaction.atomic():
            row = QuarantinedMessage.objects.create(
                kind=QuarantinedMessage.Kind.PARKED, source="gate", reason="unknown", type="journey.TicketScanned",
                external_id="scan-3", content_type="application/json", raw=_scan(3), body_hash="",
                received_at=store().now(),
            )  # fmt: skip
            Trip.objects.create(number=PARKED, kind="parked", message_id=row.id)
    parked = Trip.objects.get(number=PARKED).message_id
    retry_quarantined(ids=[parked], actor=ANA, reason="It is known now.", request_id="retry")


def _scan(number: int) -> bytes:
    return (
        f'{{"type": "journey.TicketScanned", "version": 1, "id": "scan-{number}", "data": {{"number": {number}}}}}'
    ).encode()


def _receive_without_id() -> str:
    raw = b'{"type": "journey.TicketScanned", "version": 1, "data": {"number": 4}}'
    return str(ingest(raw, content_type="application/json", source="gate", strict=True).message_id)


def _is_calm() -> bool:
    """Say whether all that is left are retries an hour away."""
    soon = store().now() + timedelta(minutes=10)
    rest = Delivery.objects.filter(available_at__lt=soon) | Delivery.objects.filter(claim_token__isnull=False)
    due = ScheduledMessage.objects.filter(due_at__lt=soon)
    return not OutboxEntry.objects.exists() and not rest.exists() and not due.exists()


def operate() -> None:
    """Hasten one retry, cancel another."""
    hastened, cancelled = (
        DeliveryId(message_id=Trip.objects.get(number=FIRST + LUGGAGE.index(kind)).message_id, consumer=HEAVE)
        for kind in ("hastened", "cancelled")
    )
    hasten_deliveries(ids=[hastened], actor=ANA, reason="Somebody is free.", request_id="hasten")
    cancel_deliveries(ids=[cancelled], actor=ANA, reason="It stays here.", request_id="cancel")


def rest() -> None:
    """Pause one consumer until the pause expires; drain another, then let it go on."""
    pause_consumer(name=OPEN, actor=ANA, reason="A break.", request_id="pause")
    ConsumerState.objects.filter(name=OPEN, paused_at__isnull=False).update(
        paused_until=store().now() - timedelta(seconds=1)
    )
    resume_expired_pauses()
    drain_consumer(name=SCAN, actor=ANA, reason="A release.", request_id="drain")
    pause_drained()
    resume_consumer(name=SCAN, actor=ANA, reason="It is out.", request_id="resume")


def replay() -> None:
    """Replay what one consumer had: in shadow, then for real."""
    for mode in ("shadow", "real"):
        if not HistoryReplay.objects.filter(mode=mode).exists():
            since = store().now() - timedelta(days=1)
            _wait_a_moment()
            replay_history(consumer=SCAN, mode=mode, since=since, rate=1000, actor=ANA, reason="A try.")
        for _ in range(100):
            if not HistoryReplay.objects.filter(mode=mode, state=HistoryReplay.State.RUNNING).exists():
                break
            past = store().now() - timedelta(seconds=1)
            # Time passes: the next step, and the lease of a process that died.
            HistoryReplay.objects.update(next_at=past, leased_until=past)
            advance_replays()


def _wait_a_moment() -> None:
    """A range ends at a millisecond, and ids of one process may be a little ahead of its clock."""
    newest = Message.objects.order_by("-id").values_list("id", flat=True).first()
    while newest and id_at(store().now()) <= newest:
        pass


def project() -> None:
    """Build projections, build one anew, forget what the new one replaced."""
    building.advance_projections()
    declared = all_projections()[0]
    rebuild_projection(name=declared.name, actor=ANA, reason="A try.", request_id="rebuild")
    building.advance_projections()
    building.forget_retired(declared, older_than=timedelta(0))


def grow_old() -> None:
    """Leave a day of history whose time is over, and a body that no message has."""
    if Trip.objects.filter(number=OLD).exists():
        return
    then = datetime.now(UTC) - LONG_AGO
    id = UUID(int=id_at(then).int | (new_id().int & ((1 << 80) - 1)))
    name = f"{FOLDER}/{then:%Y%m%d}/{id.hex}.json"
    (Path(storage().path(name))).parent.mkdir(parents=True, exist_ok=True)
    Path(storage().path(name)).write_bytes(b"{}")
    ensure_partitions(today=then, days_ahead=0)
    with transaction.atomic():
        Message.objects.create(
            id=id, type="journey.Old", version=1, kind="event", source="journey", tenant="", body=b"{}",
            content_type="application/json", correlation_id="old", traceparent="", occurred_at=then, published_at=then,
        )  # fmt: skip
        Trip.objects.create(number=OLD, kind="old", message_id=id)


def violations() -> list[str]:
    """Return in words what does not hold, each with the id of its invariant; empty when all does."""
    return [
        *recount.verified(), *recount.leases(), *recount.counters(), *_effects(), *_ends(), *_scans(), *_audit(),
        *_housekeeping(),
    ]  # fmt: skip


def _effects() -> Iterator[str]:
    """I2: as many effects as handled attempts, at least or at most where that is the promise."""
    handled, done = recount.handled(), recount.effects()
    for key in {*handled, *done}:
        expected, found, consumer = handled[key], done[key], key[0]
        is_kept = (
            found >= expected == 1 if consumer in (WEIGH, CHARGE)
            else found <= expected == 1 if consumer in (FILM, GREET)
            else found == expected == 1
        )  # fmt: skip
        if not is_kept:
            yield f"I2 {consumer}: {found} effects and {expected} handled attempts of {key[1]} run {key[2]}"


def _ends() -> Iterator[str]:
    """I1: each piece of luggage ended at each consumer in the way of its kind, the late call nowhere."""
    letters = {
        (consumer, id): (state, reason)
        for consumer, id, state, reason in DeadLetter.objects.values_list("consumer", "message_id", "state", "reason")
    }
    handled = recount.handled()
    expected: dict[tuple[str, int], str] = {(CALL, LAST_CALL): "open"}
    for number, kind in enumerate(LUGGAGE, start=FIRST):
        expected |= {(LOAD, number): "open" if kind == "broken" else "", (WEIGH, number): "", (FILM, number): ""}
        expected[HEAVE, number] = {"cancelled": "discarded", "light": "filtered"}.get(kind, "")
    for (consumer, number), end in expected.items():
        id = Trip.objects.get(number=number).message_id
        found, is_handled = letters.get((consumer, id), ("", ""))[0], bool(handled[consumer, id, 1])
        if found != end.replace("filtered", "") or is_handled == bool(end):
            yield f"I1 {consumer}: {number} ended {found!r}, {'' if is_handled else 'not '}handled, not {end!r}"


def _scans() -> Iterator[str]:
    """I1 and I2: from outside each once, the late one once, the called off never; all of them again in the replay."""
    found = Message.objects.filter(type="journey.TicketScanned").count()
    if found != SCANS + 2:
        yield f"I2 {found} tickets were published, not {SCANS + 2}"
    runs = sorted(run for consumer, _, run in recount.handled() if consumer == SCAN)
    if runs != sorted([1, 2] * (SCANS + 1)):
        yield f"I1 tickets were handled in the runs {runs}"
    called_off = Trip.objects.get(number=CALLED_OFF).message_id
    if not CancelledMessage.objects.filter(message_id=called_off).exists() or Effect.objects.filter(
        message_id=called_off
    ):
        yield "I1 what was called off was not"
    days = Message.objects.filter(type="journey.DayBegun").count()
    if days != 1 or Schedule.objects.get(name=DAILY).fired != 1:
        yield f"I2 the day of a schedule began {days} times"
    if left := ScheduledMessage.objects.count():
        yield f"I10 {left} messages are scheduled still"


def _audit() -> Iterator[str]:
    """I8 and I9: each request was done once and recorded once; the chain adds up."""
    done = AuditRecord.objects.filter(outcome="done").exclude(request_id=None).exclude(request_id="")
    found = Counter(done.values_list("request_id", flat=True))
    if set(found) != set(REQUESTS):
        yield f"I8 audit records of the requests {sorted(found)}"
    yield from (f"I9 request {request} was carried out {times} times" for request, times in found.items() if times > 1)
    ended = sorted(AuditRecord.objects.filter(actor="scheduler").values_list("action", flat=True))
    if ended != ["consumer.pause", "consumer.resume", "history.replay_done", "history.replay_done"]:
        yield f"I8 the scheduler recorded {ended}"
    if not verify_chain().is_sound:
        yield "I8 the chain does not add up"


def _housekeeping() -> Iterator[str]:
    """I10: nothing is paused, unfinished or left over."""
    if ConsumerState.objects.exclude(paused_at=None).exists() or ConsumerState.objects.exclude(drain_at=None).exists():
        yield "I10 a consumer is paused still"
    unfinished = ProjectionBuild.objects.exclude(state=ProjectionBuild.State.LIVE)
    if unfinished.exists() or ProjectionBuild.objects.count() != len(all_projections()):
        yield "I10 projections are unfinished, or what they replaced is still there"
    if Message.objects.filter(type="journey.Old").exists():
        yield "I10 old history is left"
    days = storage().listdir(FOLDER)[0]
    old = [day for day in days if day < f"{datetime.now(UTC) - LONG_AGO / 2:%Y%m%d}"]
    if any(storage().listdir(f"{FOLDER}/{day}")[1] for day in old):
        yield "I10 an old body is left"
    if unknown := {consumer for consumer, *_ in recount.handled()} - {each.name for each in all_consumers()}:
        yield f"I1 unknown consumers {unknown}"


assert connection.vendor  # the settings are in place
