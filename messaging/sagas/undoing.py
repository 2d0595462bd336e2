"""Compensation: the completed steps are undone one message at a time, the last one first.

Each undoing is a message of the saga to itself: it has the consumer's retries, a dead letter when it gives up, and
goes on from there when an operator replays that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from uuid import UUID

from messaging.contracts.model import MessageModel
from messaging.contracts.registry import decode
from messaging.models import Message
from messaging.publishing import publish_to
from messaging.sagas.declaring import Step
from messaging.sagas.definition import COMPENSATING
from messaging.sagas.messages import SagaUndoRequested
from messaging.sagas.turn import Kind, Turn


def note_completed(turn: Turn, step: str) -> None:
    """Note that a step is done, and which message said so."""
    turn.row.steps.append(
        {"step": step, "message_id": str(turn.context.message_id), "type": turn.context.type, "undone": False}
    )


def begin(
    turn: Turn, kind: str, rule: str, to: str, *, action: Callable[[], dict[str, list[Any]]] | None = None, **facts: Any
) -> None:
    """Start to undo the completed steps; without any the saga is at ``to`` at once."""

    def act() -> dict[str, list[Any]]:
        changes = action() if action else {}
        _ask(turn)
        return changes

    turn.row.undoing_to = to
    turn.move(kind, rule, COMPENSATING if _next(turn) else to, action=act, **facts)


def undo(turn: Turn, name: str) -> None:
    """Undo one step, and ask for the one before it."""
    entry = _next(turn)
    if turn.row.state != COMPENSATING or entry is None or entry["step"] != name or entry.get("asked"):
        turn.ignore(f"The step {name} is not the next one to undo.")
        return
    step = turn.saga.definition.steps[name]
    if step.undone_by:
        entry["asked"] = True  # the step before waits for the confirmation
        turn.move(Kind.UNDO, name, COMPENSATING, action=lambda: _compensate(turn, step, entry))
        return
    _finish(turn, entry, action=lambda: _compensate(turn, step, entry))


def confirm(turn: Turn, message: MessageModel) -> bool:
    """Take the confirmation of an undoing; False when the message is none."""
    entry = _next(turn)
    if turn.row.state != COMPENSATING or entry is None or not entry.get("asked"):
        return False
    if turn.saga.definition.steps[entry["step"]].undone_by is not type(message):
        return False
    _finish(turn, entry)
    return True


def complete_late(turn: Turn, message: MessageModel) -> bool:
    """Undo what was completed after the decision to compensate; False when the message completes nothing then.

    A payment that succeeds just after its timeout fired must be paid back, also when all else is undone already.
    """
    if not turn.row.undoing_to:
        return False
    done = {entry["step"] for entry in turn.row.steps}
    for rule in turn.saga.definition.rules_for(type(message)):
        step = rule.completes
        if step and step.needs_undo and step.name not in done and (rule.when is None or rule.when(message)):
            under_way = _next(turn) if turn.row.state == COMPENSATING else None
            note_completed(turn, step.name)
            facts: dict[str, Any] = {
                "completed": step.name,
                "note": "It was completed after the decision to compensate.",
            }
            if under_way and under_way.get("asked"):  # its confirmation is awaited first
                turn.row.steps.insert(turn.row.steps.index(under_way), turn.row.steps.pop())
                turn.move(Kind.MESSAGE, rule.name, COMPENSATING, **facts)
            else:
                turn.move(Kind.MESSAGE, rule.name, COMPENSATING, action=lambda: _ask(turn), **facts)
            return True
    return False


def _next(turn: Turn) -> dict[str, Any] | None:
    """Return the last completed step that is to be undone and is not."""
    steps = turn.saga.definition.steps
    for entry in reversed(turn.row.steps):
        if not entry["undone"] and entry["step"] in steps and steps[entry["step"]].needs_undo:
            found: dict[str, Any] = entry
            return found
    return None


def _ask(turn: Turn) -> dict[str, list[Any]]:
    """Ask for the next undoing, if there is one; no data changes."""
    entry = _next(turn)
    if entry is not None:
        request = SagaUndoRequested(correlation=turn.row.correlation, step=entry["step"])
        publish_to(turn.row.saga, request, key=turn.row.correlation)
    return {}


def _finish(turn: Turn, entry: dict[str, Any], action: Callable[[], dict[str, list[Any]]] | None = None) -> None:
    entry["undone"] = True
    entry.pop("asked", None)

    def act() -> dict[str, list[Any]]:
        changes = action() if action else {}
        _ask(turn)
        return changes

    to = COMPENSATING if _next(turn) else turn.row.undoing_to
    turn.move(Kind.UNDO, entry["step"], to, action=act, undone=entry["step"])


def _compensate(turn: Turn, step: Step, entry: dict[str, Any]) -> dict[str, list[Any]]:
    assert step.compensation is not None
    takes = len(inspect.signature(step.compensation).parameters)
    return turn.act(step.compensation, *([_completing(turn, entry)] if takes > 1 else []), state=turn.row.state)


def _completing(turn: Turn, entry: dict[str, Any]) -> MessageModel:
    """Return the message that completed a step; history keeps it as long as the saga is unfinished."""
    row = Message.objects.get(id=UUID(entry["message_id"]))
    model = next(model for model in turn.saga.definition.models() if model.contract_name == row.type)
    return decode(row.type, row.version, row.content(), model=model)
