"""Rescue: claims of workers that died come back, and a delivery that kills its process is set aside."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime, timedelta

from django.db.models import Q

from messaging import failpoints, failure, rollups
from messaging.database import store
from messaging.database.statements import Claimed
from messaging.delivery import settling
from messaging.delivery.execution import Execution
from messaging.models import Attempt, Delivery, Message, Worker
from messaging.settings import options

log = logging.getLogger("messaging.rescue")
BATCH = 500
FORGET_AFTER = timedelta(minutes=10)


def rescue() -> int:
    """Give back the claims of workers whose heartbeat is stale; return how many deliveries that were.

    Rows locked by a transaction still open are skipped: that transaction is the lease. The sessions of silent
    processes are ended, so their rows are free the next time.
    """
    # Of every role: a relay that froze in the middle of a rescue holds what it was rescuing.
    silent = list(Worker.objects.filter(heartbeat_at__lt=_stale_before()).values_list("id", flat=True))
    if silent:
        store().end_sessions(silent)
    total = 0
    while rescued := _rescue_batch():
        total += rescued
    if silent:
        Worker.objects.filter(heartbeat_at__lt=store().now() - FORGET_AFTER).delete()
    return total


def _stale_before() -> datetime:
    return store().now() - timedelta(seconds=options().stale_after_seconds)


def adopt_orphans() -> int:
    """Give back every claim there is: for the embedded process, whose predecessor is certainly dead."""
    Worker.objects.all().delete()
    total = 0
    while rescued := _rescue_batch():
        total += rescued
    return total


def _rescue_batch() -> int:
    with failpoints.atomic("rescue"):
        # Asked anew in here: a rescuer may itself have been frozen since it looked, and who was silent then may live.
        alive = Worker.objects.filter(heartbeat_at__gte=_stale_before()).values("id")
        claimed = Delivery.objects.filter(claim_token__isnull=False).filter(~Q(worker__in=alive))
        rows = list(claimed.select_for_update(skip_locked=True).order_by("claim_token")[:BATCH])
        if not rows:
            return 0
        if len(rows) == BATCH:
            rows = _whole_claims(rows)
        # Counted without the lock: a row of the same claim that an open transaction holds is company as well.
        tokens = Delivery.objects.filter(claim_token__in={row.claim_token for row in rows})
        shares = Counter(tokens.values_list("claim_token", flat=True))
        for row in rows:
            failpoints.reach("rescue.one")
            _rescue_one(row, died_alone=row.is_alone or shares[row.claim_token] == 1)
        for consumer, count in sorted(Counter(row.consumer for row in rows).items()):
            rollups.count(consumer, "rescued", count)
    if rows:
        log.warning("Rescued %d deliveries of workers that died.", len(rows))
    return len(rows)


def _whole_claims(rows: list[Delivery]) -> list[Delivery]:
    """Leave the last claim to the next batch: cut in two, its last row would seem to have run alone."""
    return [row for row in rows if row.claim_token != rows[-1].claim_token] or rows


def _rescue_one(row: Delivery, *, died_alone: bool) -> None:
    """A death while a delivery ran alone counts against it; in company it only has to run alone next time."""
    crashes = row.crashes + (1 if died_alone else 0)
    held = Delivery.objects.filter(
        message_id=row.message_id, consumer=row.consumer, run=row.run, claim_token=row.claim_token
    )
    if crashes >= options().crash_limit:
        _dead_letter(row, crashes)
        return
    held.update(claim_token=None, worker=None, claimed_at=None, is_alone=True, crashes=crashes)
    if died_alone:
        _record_crash(row, crashes, Attempt.Outcome.CRASHED)


def _dead_letter(row: Delivery, crashes: int) -> None:
    claimed = _as_claimed(row)
    settling.give_up(claimed, failure.crash_loop(row.consumer, crashes), "crash_loop", attempts=row.failures + crashes)
    _record_crash(row, crashes, Attempt.Outcome.DEAD_LETTERED)


def _record_crash(row: Delivery, crashes: int, outcome: str) -> None:
    execution = Execution(row=_as_claimed(row), started_at=row.claimed_at or store().now())
    settling.record(execution, failure.crash_loop(row.consumer, crashes), outcome)


def _as_claimed(row: Delivery) -> Claimed:
    now = store().now()
    message = Message.objects.filter(id=row.message_id).defer("body").first()
    return Claimed(
        message_id=row.message_id, consumer=row.consumer, run=row.run, failures=row.failures, crashes=row.crashes,
        resolves=row.resolves, type=message.type if message else "", version=message.version if message else 0,
        body=b"", headers={}, key=row.key, correlation_id=message.correlation_id if message else "",
        causation_id=None, traceparent=message.traceparent if message else "", source="", tenant="",
        published_at=message.published_at if message else now, created_at=row.created_at, locked_at=now,
        position=row.position,
    )  # fmt: skip
