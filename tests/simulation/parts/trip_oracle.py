"""I5, recounted beside the product's own recount: move by move, and from what the provider has left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from messaging.models import AuditRecord, DeadLetter, Message, SagaInstance, SagaTransition
from messaging.sagas.definition import COMPENSATING, Definition
from tests.simulation.cast.models import Line, Sent

Kind = SagaTransition.Kind


def violations(definition: Definition, *, consumers: Sequence[str]) -> Iterator[str]:
    """Return what does not hold of any trip."""
    given_up = _given_up(consumers)
    planned = set(Sent.objects.filter(what="trip").values_list("message_id", flat=True))
    if planned != set(Message.objects.filter(type="cast.Planned", causation_id=None).values_list("id", flat=True)):
        yield "I1 planned trips and stored ones differ"
    correlations = {f"trip-{sent.number // 10}" for sent in Sent.objects.filter(what="trip")}
    instances = Counter(SagaInstance.objects.values_list("correlation", flat=True))
    for name in sorted(correlations | set(instances)):
        if name in given_up:
            continue  # a person threw away what it was to be told
        if instances[name] != 1 or name not in correlations:
            yield f"I5 {name} has {instances[name]} instances"
            continue
        row = SagaInstance.objects.get(correlation=name)
        if row.ended_at is None or not definition.is_final(row.state):
            yield f"I10 {name} is {row.state} for ever"
            continue
        moves = list(SagaTransition.objects.filter(instance=row.id).exclude(kind=Kind.IGNORED).order_by("number"))
        yield from (f"I5 {name}: {wrong}" for wrong in _wrong(definition, moves))
        yield from (f"I5 {name}: {wrong}" for wrong in _left(row, moves))


def _given_up(consumers: Sequence[str]) -> set[str]:
    dead = DeadLetter.objects.filter(consumer__in=consumers)
    lost = dead.filter(state=DeadLetter.State.DISCARDED)
    found = Message.objects.filter(id__in=lost.values("message_id")).values_list("correlation_id", flat=True)
    flows = SagaInstance.objects.filter(flow__in=list(found)).values_list("correlation", flat=True)
    keys = Message.objects.filter(id__in=lost.values("message_id"), key__isnull=False).values_list("key", flat=True)
    return {*flows, *(str(key) for key in keys)}


def _wrong(definition: Definition, moves: list[SagaTransition]) -> Iterator[str]:
    """Follow the moves: each by a rule of its state, each undoing of the last step that is still to be undone."""
    owed: list[str] = []
    is_asked = False
    due: dict[str, str] = {}
    for move in moves:
        rule = definition.rule_named(move.rule)
        is_late = move.kind == Kind.MESSAGE and move.state_after == COMPENSATING and bool(move.completed)
        at = [state.name for state in rule.at] if rule else []
        if rule and move.kind in (Kind.MESSAGE, Kind.TIMEOUT) and at and move.state_before not in at and not is_late:
            yield f"{move.rule} led from {move.state_before}, which it does not"
        if move.kind == Kind.TIMEOUT and move.at.isoformat() < due[move.rule] and not _was_hastened(move):
            yield f"{move.rule} came at {move.at}, before {due[move.rule]}"
        due |= {each["name"]: each["due_at"] for each in move.timeouts if each["what"] == "requested"}
        if move.completed:
            owed.insert(len(owed) - is_asked, move.completed)
        if move.kind == Kind.UNDO and not move.undone:
            is_asked = True
        if move.undone:
            if not owed or owed.pop() != move.undone:
                yield f"it undid {move.undone}, which was not the last step to undo"
            is_asked = False
    has_compensated = moves[-1].state_after == "cancelled"
    if has_compensated and owed:
        yield f"it ended without undoing {owed}"
    if not has_compensated and any(move.undone for move in moves):
        yield f"it undid a step and ended as {moves[-1].state_after}"


def _was_hastened(move: SagaTransition) -> bool:
    return AuditRecord.objects.filter(
        action="message.hasten", outcome="done", target=f"message:{move.message_id}"
    ).exists()


def _left(row: SagaInstance, moves: list[SagaTransition]) -> Iterator[str]:
    """Compare what was done with what history says, and with what the provider still holds."""
    lines = Counter(Line.objects.filter(about=row.correlation).values_list("what", flat=True))
    undone = Counter(f"undoes {move.undone}" for move in moves if move.undone)
    done = Counter({what: count for what, count in lines.items() if what.startswith("undoes ")})
    if undone != done:
        yield f"history has {dict(undone)}, its work {dict(done)}"
    held = {what.partition(" ")[0] for what in lines if what.endswith(" had")}
    held -= {what.partition(" ")[0] for what in lines if what.endswith(" back")}
    wanted = {"seat", "meal", "fare"} if row.state == "gone" else set()
    if held != wanted:
        yield f"it ended as {row.state}, and has {sorted(held) or 'nothing'}"
