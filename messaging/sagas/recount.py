"""I5, recounted from history: only legal moves, without a gap, and after a failure all that was completed is undone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from messaging.models import SagaInstance, SagaTransition
from messaging.sagas.definition import COMPENSATING, Definition
from messaging.sagas.saga import all_sagas


def illegal_moves() -> Iterator[str]:
    """Yield what no saga may have done, in words."""
    for saga in all_sagas():
        rows = SagaTransition.objects.filter(saga=saga.definition.name).exclude(kind=SagaTransition.Kind.IGNORED)
        states = dict(SagaInstance.objects.filter(saga=saga.definition.name).values_list("id", "state"))
        ordered = rows.order_by("instance", "number").iterator(chunk_size=2000)
        for instance, found in groupby(ordered, key=lambda row: row.instance):
            moves = list(found)
            if moves[0].number == 1:  # else retention took its beginning
                name = f"{saga.definition.name} {moves[0].correlation}"
                yield from (f"{name}: {wrong}" for wrong in _wrong(saga.definition, moves, states.get(instance)))


def _wrong(definition: Definition, moves: list[SagaTransition], state: str | None) -> Iterator[str]:
    legal = {(edge.before, edge.after) for edge in definition.edges()}
    before = ""
    for number, move in enumerate(moves, start=1):
        if move.number != number:
            yield f"move {number} is missing"
            return
        if move.state_before != before:
            yield f"move {number} leaves {move.state_before}, but the one before led to {before}"
        if move.kind in ("message", "composite", "timeout") and not _is_legal(definition, legal, move):
            yield f"move {number} from {before or 'the start'} to {move.state_after} is declared nowhere"
        before = move.state_after
    if state is not None and state != before:
        yield f"its state is {state}, but its history ends at {before}"
    has_failed = any(move.state_after == COMPENSATING or _ends_at_once(definition, legal, move) for move in moves)
    if has_failed and definition.is_final(before):
        owed = {move.completed for move in moves if move.completed and definition.steps[move.completed].needs_undo}
        undone = [move.undone for move in moves if move.undone]
        if moves[-1].kind != "operator" and sorted(owed) != sorted(undone):
            yield f"it compensated {undone}, but had completed {sorted(owed)}"


def _is_legal(definition: Definition, legal: set[tuple[str, str]], move: SagaTransition) -> bool:
    is_declared = (move.state_before, move.state_after) in legal or not move.rule
    # A step completed late is undone after all.
    is_late = bool(move.completed and move.state_after == COMPENSATING)
    return is_declared or is_late or _ends_at_once(definition, legal, move)


def _ends_at_once(definition: Definition, legal: set[tuple[str, str]], move: SagaTransition) -> bool:
    """Say whether it failed and had nothing to undo: without a completed step it compensates nothing."""
    is_declared = (move.state_before, move.state_after) in legal
    return not is_declared and (move.state_before, COMPENSATING) in legal and definition.is_final(move.state_after)
