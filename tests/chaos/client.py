"""``python -m tests.chaos.client``: a publisher that keeps a ledger, or an operator who repairs dead letters.

Either is killed and started again like any other process, and goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import django
from django.db import connection, transaction
from django.db.utils import DatabaseError, InterfaceError

from tests.chaos.ledger import Answer, Ledger

if TYPE_CHECKING:
    from messaging.models import DeadLetter

log = logging.getLogger("tests.chaos")
KINDS = {
    "plain": 80, "flaky": 6, "savepoint": 4, "cut": 0.2, "rolled back": 4, "replayed": 3, "resubmitted": 1,
    "discarded": 1, "delayed": 4,
}  # fmt: skip
"""Kinds of trips and how often each is booked; see tests/sweep/journey."""
DELAY = timedelta(seconds=3)
GATES = 20
"""Keys: the ordered consumer takes the trips of each one after another."""
ASKED_AGAIN = 0.1
"""Share of an operator's requests that are sent a second time, as an impatient browser would."""


class _RolledBack(Exception):
    pass


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.client", description=__doc__)
    parser.add_argument("act", choices=["publisher", "operator"])
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--rate", type=float, default=12.0, help="trips a second; each makes three messages")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    django.setup()
    if given.act == "publisher":
        publish_until(stop, Ledger(given.ledger), rate=given.rate, seed=given.seed)
    else:
        operate_until(stop)
    return 0


def publish_until(stop: threading.Event, ledger: Ledger, *, rate: float, seed: int) -> None:
    """Book trips at a steady rate; what time was lost is not made up for."""
    dice = random.Random(f"{seed} {ledger.next_number}")
    while not stop.is_set():
        began = time.monotonic()
        (kind,) = dice.choices(list(KINDS), list(KINDS.values()))
        number = ledger.try_(kind)
        ledger.note(number, book(number, kind))
        stop.wait(max(0.0, 1 / rate - (time.monotonic() - began)))


def book(number: int, kind: str) -> Answer:
    from messaging import publish
    from tests.sweep.journey.events import TripBooked
    from tests.sweep.journey.models import Trip

    is_written = False
    try:
        with transaction.atomic():
            event, delay = TripBooked(number=number, kind=kind), DELAY if kind == "delayed" else None
            key = None if delay else f"gate {number % GATES}"
            Trip.objects.create(number=number, kind=kind, message_id=publish(event, key=key, delay=delay))
            if kind == "rolled back":
                raise _RolledBack
            is_written = True
    except _RolledBack:
        return "refused"
    except (DatabaseError, InterfaceError) as error:
        log.warning("trip %d: %s", number, error)
        _reconnect()
        return "unknown" if is_written else "refused"
    return "acknowledged"


def operate_until(stop: threading.Event) -> None:
    """Repair every dead letter, each by a request whose id depends on nothing but the dead letter."""
    dice = random.Random()
    while not stop.wait(1.0):
        try:
            repair_all(dice)
        except (DatabaseError, InterfaceError) as error:
            log.warning("operator: %s", error)
            _reconnect()


def repair_all(dice: random.Random) -> None:
    from messaging.models import DeadLetter

    for row in DeadLetter.objects.filter(state="open").order_by("dead_at")[:50]:
        repair = _repair_of(row)
        for _ in range(2 if dice.random() < ASKED_AGAIN else 1):
            repair()


def repair_id(dead_letter: UUID) -> str:
    """Return the id of the request that repairs a dead letter."""
    return f"repair {dead_letter}"


def _repair_of(row: DeadLetter) -> Callable[[], object]:
    from messaging.models import Message
    from messaging.operations import command_line, discard_dead_letters, replay_dead_letters, resubmit_dead_letter
    from tests.sweep.journey.consumers import HOLD_SEAT

    actor, request_id = command_line("ana"), repair_id(row.id)
    body = bytes(Message.objects.get(id=row.message_id).body).decode()
    bulk: dict[str, Any] = {"ids": [row.id], "actor": actor, "request_id": request_id}
    if row.consumer == HOLD_SEAT and row.run == 1 and '"resubmitted"' in body:
        copy = body.replace('"resubmitted"', '"plain"')
        return partial(
            resubmit_dead_letter, id=row.id, body=copy, actor=actor, reason="Another train.", request_id=request_id
        )
    if row.consumer == HOLD_SEAT and '"discarded"' in body:
        return partial(discard_dead_letters, reason="The passenger gave up.", **bulk)
    return partial(replay_dead_letters, reason="It is well again.", **bulk)


def _reconnect() -> None:
    with suppress(DatabaseError, InterfaceError):
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
