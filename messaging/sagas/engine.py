"""What a saga's consumer does with a message: find the instance, choose the rule, move."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from messaging import signals
from messaging.context import Context
from messaging.contracts.model import MessageModel
from messaging.database import store
from messaging.errors import MessageIgnored, RetryLater, SagaNotFound, UnexpectedInState
from messaging.ids import new_id
from messaging.models import Message, SagaInstance
from messaging.sagas import undoing
from messaging.sagas.declaring import Rule
from messaging.sagas.definition import COMPENSATING, Definition
from messaging.sagas.messages import SagaInterventionRequested, SagaTimedOut, SagaUndoRequested
from messaging.sagas.turn import Kind, Turn

if TYPE_CHECKING:
    from messaging.sagas.saga import Saga

SHORTEST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Bounds of the wait of a message that is deferred, in seconds."""


def handle_message(saga: type[Saga[Any]], message: MessageModel, context: Context) -> None:
    """Let a message move its saga. Runs inside the transaction of the delivery.

    Raises:
        MessageIgnored, RetryLater, SagaNotFound, UnexpectedInState: by the declared policy.
        StaleSave: another message was first.
    """
    definition = saga.definition
    if isinstance(message, SagaTimedOut | SagaUndoRequested | SagaInterventionRequested):
        correlation = message.correlation
    else:
        correlation = definition.correlation_of(message)
    row = SagaInstance.objects.filter(saga=definition.name, correlation=correlation).first()
    if row is None:
        turn = _start(saga, message, context, correlation)
    else:
        turn = Turn(saga=saga, row=row, context=context, read_version=row.version)
        _go_on(turn, message)
    turn.save()
    signals.changed.send_robust(None, topics=frozenset({"sagas"}))


def _start(saga: type[Saga[Any]], message: MessageModel, context: Context, correlation: str) -> Turn:
    definition = saga.definition
    rule = next((rule for rule in definition.rules_for(type(message)) if rule.is_start), None)
    if rule is None or rule.to is None:
        why = f"No {definition.name} of {definition.correlation} {correlation} exists."
        raise _by_policy(definition, message, context, "not_found", SagaNotFound(why))
    now = store().now()
    row = SagaInstance(
        id=new_id(), saga=definition.name, correlation=correlation, flow=context.correlation_id, state=rule.to.name,
        version=0, data="", started_at=now, changed_at=now,
    )  # fmt: skip
    turn = Turn(saga=saga, row=row, context=context, is_new=True)
    _apply(turn, rule, message, is_start=True)
    _meet_composites(turn, message)
    return turn


def _go_on(turn: Turn, message: MessageModel) -> None:
    if isinstance(message, SagaTimedOut):
        _time_out(turn, message)
    elif isinstance(message, SagaUndoRequested):
        undoing.undo(turn, message.step)
    elif isinstance(message, SagaInterventionRequested):
        _intervene(turn, message)
    elif not undoing.confirm(turn, message) and not undoing.complete_late(turn, message):
        _advance(turn, message)


def _advance(turn: Turn, message: MessageModel) -> None:
    definition, state = turn.saga.definition, turn.row.state
    for rule in definition.rules_for(type(message)):
        if state in [each.name for each in rule.at] and (rule.when is None or rule.when(message)):
            _apply(turn, rule, message)
            _meet_composites(turn, message)
            return
    if _only_counts(turn, message):
        turn.move(Kind.MESSAGE, "", state)
        _meet_composites(turn, message)
        return
    why = f"{definition.name} {turn.row.correlation} is {state}: {type(message).__name__} leads nowhere from there."
    policy = _by_policy(definition, message, turn.context, "wrong_state", UnexpectedInState(why), turn.row)
    if not isinstance(policy, MessageIgnored):
        raise policy
    turn.ignore(why)


def _apply(turn: Turn, rule: Rule, *message: MessageModel, is_start: bool = False) -> None:
    kind = Kind.TIMEOUT if rule.kind == "timeout" else Kind.COMPOSITE if rule.kind == "composite" else Kind.MESSAGE
    to = rule.to.name if rule.to else turn.row.state
    if rule.completes:
        undoing.note_completed(turn, rule.completes.name)
    facts = {"completed": rule.completes.name if rule.completes else ""}
    act = partial(turn.act, rule.action, *message, state=turn.row.state)
    if rule.compensates:
        undoing.begin(turn, kind, rule.name, to, action=act, **facts)
    else:
        turn.move(kind, rule.name, to, action=act, entering=is_start, **facts)


def _only_counts(turn: Turn, message: MessageModel) -> bool:
    state, model = turn.row.state, type(message)
    own = [rule for rule in turn.saga.definition.rules_for(model) if state in [each.name for each in rule.at]]
    return any(
        state == rule.at[0].name and model in rule.models and not own for rule in turn.saga.definition.composites()
    )


def _meet_composites(turn: Turn, message: MessageModel) -> None:
    awaited = turn.saga.definition.composites()
    name = type(message).contract_name
    if any(type(message) in rule.models for rule in awaited) and name not in turn.row.answers:
        turn.row.answers.append(name)
    for rule in awaited:
        met = all(model.contract_name in turn.row.answers for model in rule.models)
        if met and rule.at[0].name == turn.row.state:
            _apply(turn, rule)
            return


def _time_out(turn: Turn, message: SagaTimedOut) -> None:
    pending = turn.row.timeouts.get(message.timeout)
    rule = turn.saga.definition.rule_named(message.timeout)
    # Late: it was already on its way when the saga left the state, or a newer one took its place.
    if rule is None or pending is None or not _is_awaited(turn.context, pending["message_id"]):
        turn.ignore(f"The timeout {message.timeout} came late: the saga had moved on.")
        return
    del turn.row.timeouts[message.timeout]
    _apply(turn, rule)


def _is_awaited(context: Context, message_id: str) -> bool:
    """Say whether a timeout is the one that was set, or a copy of it that an operator resubmitted."""
    if str(context.message_id) == message_id:
        return True
    cause, timeouts = context.causation_id, Message.objects.filter(type=SagaTimedOut.contract_name)
    while cause is not None and cause != message_id:  # a copy is caused by its original
        cause = timeouts.filter(id=cause).values_list("causation_id", flat=True).first()
    return cause is not None


def _intervene(turn: Turn, message: SagaInterventionRequested) -> None:
    facts: dict[str, Any] = {"actor": message.actor, "note": message.reason}
    if turn.row.ended_at is not None:
        turn.ignore(f"{message.actor} asked to {message.action}, but it had ended as {turn.row.state}.")
    elif not turn.saga.definition.is_final(message.to):
        raise UnexpectedInState(f"{message.to!r} is no final state of {turn.row.saga}.")
    elif message.action == "complete":
        turn.move(Kind.OPERATOR, "complete", message.to, **facts)
    elif turn.row.state == COMPENSATING:
        turn.ignore(f"{message.actor} asked to compensate, but it was compensating already.")
    else:
        undoing.begin(turn, Kind.OPERATOR, "compensate", message.to, **facts)


def _by_policy(
    definition: Definition, message: MessageModel, context: Context, which: str, error: Exception,
    row: SagaInstance | None = None,
) -> Exception:  # fmt: skip
    policy = definition.policy(type(message), which)
    if policy == "ignore":
        return MessageIgnored(str(error))
    if policy == "dead_letter" or (row is not None and row.ended_at is not None):
        return error
    waited = (store().now() - context.published_at).total_seconds()
    if waited >= definition.defer_seconds:
        return type(error)(f"{error} It was deferred for {waited:.0f} seconds.")
    # As long again as it waited already: soon at first, rarely later.
    return RetryLater(min(max(waited, SHORTEST_WAIT), LONGEST_WAIT), str(error))
