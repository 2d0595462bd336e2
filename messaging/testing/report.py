"""What a failed assertion says: what was expected, what came near, and what happened instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from messaging import clock
from messaging.models import Attempt, DeadLetter, Delivery, Message, OutboxEntry, ScheduledMessage

SHOWN = 8
"""Most lines of one kind; a test that fails after thousands of messages is read by a person too."""


def report(
    what: str, *, found: Sequence[object], kept: Sequence[object], times: int | None, fields: dict[str, Any]
) -> str:
    """Return the text of an assertion that did not hold."""
    wanted = "at least once" if times is None else f"exactly {times} times"
    narrowed = f" with {', '.join(f'{name}={value!r}' for name, value in fields.items())}" if fields else ""
    lines = [f"{what}{narrowed}: expected {wanted}, seen {len(kept)} times."]
    if fields and len(kept) < len(found):
        lines.append(f"With other values, {len(found) - len(kept)} times:")
        others = [each for each in found if each not in kept]
        lines += [f"  {', '.join(f'{n}={getattr(each, n)!r}' for n in fields)}" for each in others[:SHOWN]]
    return "\n".join([*lines, "What happened:", *_happened()])


def _happened() -> Iterator[str]:
    types = dict(Message.objects.values_list("id", "type"))
    yield f"  published: {_counted(types.values())}"
    unrelayed = OutboxEntry.objects.count()
    if unrelayed:
        yield f"  not relayed yet: {unrelayed}; call run()"
    for held in ScheduledMessage.objects.order_by("due_at")[:SHOWN]:
        yield f"  scheduled: {held.type}, due in {(held.due_at - clock.now()).total_seconds():g} s"
    handled = Attempt.objects.filter(outcome=Attempt.Outcome.HANDLED).values_list("consumer", "message_id")
    yield f"  handled: {_counted(f'{types.get(id)} by {consumer}' for consumer, id in handled)}"
    for row in Delivery.objects.order_by("available_at")[:SHOWN]:
        wait = (row.available_at - clock.now()).total_seconds()
        due = f"due in {wait:g} s" if wait > 0 else "due now"
        failed = _last_error(row)
        yield f"  waiting: {types.get(row.message_id)} for {row.consumer}, {due}{f', after {failed}' if failed else ''}"
    for letter in DeadLetter.objects.order_by("-id")[:SHOWN]:
        yield (
            f"  dead: {letter.type} at {letter.consumer}, {letter.reason}:"
            f" {letter.error_type}: {letter.error_message[:200]} ({letter.location})"
        )


def _counted(names: Any) -> str:
    counts = Counter(names)
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())) or "nothing"


def _last_error(row: Delivery) -> str:
    tries = Attempt.objects.filter(message_id=row.message_id, consumer=row.consumer, run=row.run)
    last = tries.order_by("-id").first()
    return f"{last.error_type}: {(last.error_message or '')[:200]} ({last.location})" if last else ""
