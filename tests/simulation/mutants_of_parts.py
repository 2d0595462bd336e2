"""Mutants of what only some seeds play: schedules, sagas, gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from django.db import connection
from django.db.models import F

from messaging import database, failpoints, limits
from messaging.database import sqlite_sql, store
from messaging.database.connections import text_time
from messaging.database.sqlite import _take_positions
from messaging.delivery import gate, presence
from messaging.delivery.presence import Presence
from messaging.models import Schedule
from messaging.sagas import engine, undoing
from messaging.sagas.messages import SagaTimedOut
from messaging.sagas.turn import Turn
from messaging.scheduling import firing
from messaging.scheduling.recurring import Recurrence
from messaging.scheduling.rules import plan
from messaging.scheduling.synchronising import rule_of
from tests.simulation import mutants_of_messages
from tests.simulation.parts.asking import Asking
from tests.simulation.parts.gates import Gates
from tests.simulation.parts.later import Later
from tests.simulation.parts.part import Part
from tests.simulation.parts.trips import Trips
from tests.simulation.stage import world

MOMENT = 0.2
"""Seconds in which others may act between what a mutant reads and what it does."""


def without_firing_transaction() -> None:
    """A schedule moves on, and publishes in a transaction after that."""

    @contextmanager
    def apart(_: str) -> Iterator[None]:
        yield

    patched: Any = firing
    patched.failpoints = SimpleNamespace(atomic=apart, reach=failpoints.reach)


def without_due_key() -> None:
    """A relay fires what it read a moment ago, whether or not another fired it since."""

    def fire(declared: Recurrence) -> int:
        now = world().clock()
        row = Schedule.objects.filter(next_at__lte=now, paused_at=None, name=declared.name).first()
        if row is None or row.next_at is None:
            return 0
        planned = plan(rule_of(row), due=row.next_at, now=now, missed=row.missed, limit=row.missed_limit)
        world().sleep(MOMENT)
        with failpoints.atomic("fire"):
            firing._move_on(row, planned, now)
            ids = [firing._publish_once(declared, due, after=None) for due in planned.fire]
            Schedule.objects.filter(name=row.name).update(fired=F("fired") + len(ids))
        return len(ids)

    patched: Any = firing
    patched.fire = fire
    sqlite_sql.NOTE_FIRING = sqlite_sql.NOTE_FIRING.replace("DO NOTHING", "DO UPDATE SET fired_by = ''")


def without_taking_the_row() -> None:
    """A relay delivers what it saw to be due a moment ago, whoever took the row since."""

    def move_due(limit: int) -> int:
        now = text_time(world().clock())
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT message_id, type, key, consumer, run, resolves FROM messaging_scheduledmessage"
                " WHERE due_at <= %s LIMIT %s", [now, limit],
            )  # fmt: skip
            due = cursor.fetchall()
        world().sleep(MOMENT if due else 0)
        with failpoints.atomic("move_due"), connection.cursor() as cursor:
            places = _take_positions(cursor, [row[:3] for row in due])
            for id, type_, key, consumer, run, resolves in due:
                cursor.execute(
                    "INSERT INTO messaging_outboxentry (message_id, type, key, position, created_at, consumer, run,"
                    " resolves) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                    [id, type_, key, places.get(id), now, consumer, run, resolves],
                )
                cursor.execute("DELETE FROM messaging_scheduledmessage WHERE message_id = %s", [id])
        return len(due)

    target: Any = store()
    target._target.move_due = move_due


def without_late_timeouts() -> None:
    """A saga takes every timeout for the one that it waits for."""

    def time_out(turn: Turn, message: SagaTimedOut) -> None:
        rule = turn.saga.definition.rule_named(message.timeout)
        assert rule is not None
        turn.row.timeouts.pop(message.timeout, None)
        engine._apply(turn, rule)

    patched: Any = engine
    patched._time_out = time_out


def without_late_steps() -> None:
    """What is completed after the decision to compensate is not undone."""
    patched: Any = undoing
    patched.complete_late = lambda turn, message: False


def without_reverse_order() -> None:
    """The first completed step is undone first."""

    def first(turn: Turn) -> dict[str, Any] | None:
        steps = turn.saga.definition.steps
        return next((each for each in turn.row.steps if not each["undone"] and steps[each["step"]].needs_undo), None)

    patched: Any = undoing
    patched._next = first


def without_one_probe() -> None:
    """Nobody looks whether a probe is out already."""
    patched: Any = gate
    patched._is_probed = lambda row, now: False


def without_tokens() -> None:
    """A claim takes no token out of the bucket of its rate."""
    patched: Any = limits.Bucket
    patched.taken = lambda bucket, rate, count, now: bucket


def without_counting_claims() -> None:
    """Nobody counts the claims at once."""
    patched: Any = gate
    patched._live_claims = lambda consumer: 0


def without_operators_limits() -> None:
    """A limit that an operator set is kept, and never asked."""
    patched: Any = gate
    patched.in_force = lambda consumer, row: (consumer.rate_limit, consumer.concurrency)


def without_hearing_of_limits() -> None:
    """A worker asks once, as it begins, which consumers operators limited."""
    patched: Any = presence.Presence
    start, refresh = patched.start, gate.refresh

    def started(mine: Presence) -> None:
        presence.after_beat.append(refresh)
        start(mine)
        presence.after_beat.clear()

    presence.after_beat.clear()
    patched.start = started


def without_asking_at_first() -> None:
    """A worker begins without asking which consumers operators limited."""
    patched: Any = presence.Presence
    start, acts = patched.start, list(presence.after_beat)

    def started(mine: Presence) -> None:
        presence.after_beat.clear()
        start(mine)
        presence.after_beat.extend(acts)

    patched.start = started


def without_horizon() -> None:
    """A claim asks neither for a pause nor for a drain."""
    assert sqlite_sql._HORIZON in sqlite_sql.CLAIM
    sqlite_sql.CLAIM = sqlite_sql.CLAIM.replace(sqlite_sql._HORIZON, "'9999-12-31'")


def without_taking_the_timeout() -> None:
    """An answer leaves the asker's timeout as it is."""
    patched: Any = database
    patched._answered = lambda reply: reply


BY_PART: dict[type[Part], dict[str, Callable[[], None]]] = {
    Later: {
        "firing's transaction": without_firing_transaction,
        "due time's key": without_due_key,
        "scheduled row": without_taking_the_row,
    },
    Trips: {
        "saga's late timeouts": without_late_timeouts,
        "saga's late steps": without_late_steps,
        "saga's reverse order": without_reverse_order,
    },
    Gates: {
        "one probe": without_one_probe,
        "rate": without_tokens,
        "concurrency": without_counting_claims,
        "pause and drain": without_horizon,
        "operators' limits": without_operators_limits,
        "limits with each heartbeat": without_hearing_of_limits,
        "limits at the first": without_asking_at_first,
    },
    Asking: {"answer's timeout": without_taking_the_timeout},
    **mutants_of_messages.BY_PART,
}
MUTANTS = {name: take_out for mutants in BY_PART.values() for name, take_out in mutants.items()}


def part_of(mutant: str) -> type[Part] | None:
    """Return the part that a seed must play for this to show; None where every seed may show it."""
    return next((part for part, mutants in BY_PART.items() if mutant in mutants), None)
