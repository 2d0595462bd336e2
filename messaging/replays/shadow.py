"""Run one message in shadow: for real, in a transaction that is rolled back; say what it would have changed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import connection, transaction

from messaging import clock
from messaging.consumers import Consumer
from messaging.context import PUBLISHED_BY, BatchContext, Scope, current_scope, transaction_depth
from messaging.database import put
from messaging.database.changes import Changes, RowCounts
from messaging.database.statements import Claimed
from messaging.delivery.execution import call, context_of, read
from messaging.failure import storable
from messaging.ids import id_at, new_id
from messaging.models import Attempt, Message
from messaging.policy import GiveUp, Ignore, decide

OURS = frozenset({"messaging_message", "messaging_outboxentry", "messaging_scheduledmessage", "messaging_keycounter"})
"""Tables of publishing: told as messages, not as rows."""
_ENDED = {"handled": "handled", "ignored": "ignored", "dead_lettered": "failed", "crashed": "failed",
          "dropped": "failed", "retried": "failed", "postponed": "postponed", "filtered": "filtered"}  # fmt: skip
MARGIN = timedelta(milliseconds=100)
"""Ids bear milliseconds of another clock; two runs of one message at one consumer are never as close as this."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A follow-up, as far as two runs of a handler can be compared by it."""

    type: str
    key: str | None
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What came of one message: outcomes are handled, ignored, failed, postponed; ``recorded`` also "" for none."""

    outcome: str
    recorded: str
    error: str = ""
    changes: Changes = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)
    differences: tuple[str, ...] = ()


def run_in_shadow(consumer: Consumer, message: Message) -> Finding:
    """Run the handler as a delivery would, roll back, and compare with what history recorded.

    Sequences advance and calls to other systems are made all the same: a shadow run undoes what the database can.
    """
    row = _claimed(consumer, message)
    error: BaseException | None = None
    changes: Changes = {}
    follow_ups: list[Published] = []
    with transaction.atomic():
        counts, first = RowCounts(), new_id()
        scope = Scope(context=context_of(row), depth=transaction_depth(), depends_on=consumer.depends_on)
        token = current_scope.set(scope)
        try:
            _call(consumer, row, scope)
            changes = counts.changes()
            # Deferred constraints speak at COMMIT, and there will be none.
            connection.check_constraints(table_names=sorted(changes))
            put(scope.published)
            sent = Message.objects.filter(id__gt=first, causation_id=str(message.id)).order_by("id")
            follow_ups = [_published(each) for each in sent]
        except (Exception, SystemExit) as raised:  # noqa: BLE001  whatever a handler raises is its outcome
            error, changes, follow_ups = raised, {}, []
        finally:
            current_scope.reset(token)
            transaction.set_rollback(True)
    outcome = "handled" if error is None else _outcome(consumer, error)
    recorded, before = _history(consumer, message)
    said = "" if error is None else storable(f"{type(error).__name__}: {error}")[:300]
    return Finding(
        outcome=outcome, recorded=recorded, error=said,
        changes={table: rows for table, rows in changes.items() if table not in OURS},
        published=dict(Counter(each.type for each in follow_ups)),
        differences=tuple(differences(outcome, recorded, follow_ups, before)) if recorded else (),
    )  # fmt: skip


def _call(consumer: Consumer, row: Claimed, scope: Scope) -> None:
    message = read(consumer, row)
    if consumer.batch is None:
        call(consumer, message, scope.context, scope)
    else:
        call(consumer, [message], BatchContext(contexts=(scope.context,)), scope)


def _outcome(consumer: Consumer, error: BaseException) -> str:
    match decide(error, failures=0, retry=consumer.retry):
        case Ignore():
            return "ignored"
        case GiveUp():
            return "failed"
        case again:
            return "failed" if again.is_failure else "postponed"


def differences(outcome: str, recorded: str, now: Sequence[Published], before: Sequence[Published]) -> list[str]:
    """Say in words where a run differs from the recorded one; values are left out, as they may be private."""
    found = []
    if outcome != recorded:
        found.append(f"{outcome} instead of {recorded}")
    for type_ in sorted({each.type for each in (*now, *before)}):
        new = [each for each in now if each.type == type_]
        old = [each for each in before if each.type == type_]
        if len(new) != len(old):
            found.append(f"publishes {len(new)} {type_} instead of {len(old)}")
            continue
        paths = {path for one, other in zip(new, old, strict=True) for path in _differing(one, other)}
        found += [f"{type_}: {path} differs" for path in sorted(paths)]
    return found


def _differing(one: Published, other: Published) -> set[str]:
    found = _paths(json.loads(one.body), json.loads(other.body), "data")
    return found | ({"key"} if one.key != other.key else set())


def _paths(one: Any, other: Any, path: str) -> set[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            each for name in one.keys() | other.keys()
            for each in _paths(one.get(name), other.get(name), f"{path}.{name}")
        }  # fmt: skip
    return set() if one == other else {path}


def _history(consumer: Consumer, message: Message) -> tuple[str, list[Published]]:
    """Return how the last run ended here, "" when there was none, and what it published."""
    last = Attempt.objects.filter(message_id=message.id, consumer=consumer.name).order_by("-run", "-id").first()
    if last is None:
        return "", []
    if last.outcome != "handled":
        return _ENDED[last.outcome], []
    began, ended = last.started_at - MARGIN, last.started_at + timedelta(microseconds=last.duration_us) + MARGIN
    sent = Message.objects.filter(id__gte=id_at(began), id__lt=id_at(ended), causation_id=str(message.id))
    return "handled", [
        _published(each) for each in sent.order_by("id")
        if each.headers.get(PUBLISHED_BY, consumer.name) == consumer.name
    ]  # fmt: skip


def _published(message: Message) -> Published:
    return Published(type=message.type, key=message.key, body=message.content())


def _claimed(consumer: Consumer, message: Message) -> Claimed:
    # Run 2, as a replay is: it runs whatever the message's age.
    return Claimed(
        message_id=message.id, consumer=consumer.name, run=2, failures=0, crashes=0, resolves=None, type=message.type,
        version=message.version, body=bytes(message.body), headers=message.headers, key=message.key,
        correlation_id=message.correlation_id, causation_id=message.causation_id, traceparent=message.traceparent,
        source=message.source, tenant=message.tenant, published_at=message.published_at,
        created_at=message.published_at, locked_at=clock.now(), expires_at=message.expires_at, blob=message.blob,
        position=message.position,
    )  # fmt: skip
