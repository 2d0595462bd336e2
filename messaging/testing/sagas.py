"""What tests say about sagas: the state of one, and the table of failures of a whole one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from messaging.models import SagaInstance, SagaTransition
from messaging.sagas import Saga, SagaData


@dataclass(frozen=True, kw_only=True)
class SagaSeen:
    """A saga's instance: where it is and how it came there."""

    state: str
    data: SagaData
    completed: tuple[str, ...]
    """Steps in the order of their completion."""
    undone: tuple[str, ...]
    """Steps in the order of their compensation."""
    pending: tuple[str, ...]
    """Names of the timeouts it waits for."""
    is_ended: bool
    history: tuple[SagaTransition, ...]


def look_up(saga: type[Saga[Any]], correlation: object, *, state: str | None, fields: dict[str, Any]) -> SagaSeen:
    """Return the instance; see ``Harness.saga``."""
    name = saga.definition.name
    row = SagaInstance.objects.filter(saga=name, correlation=str(correlation)).first()
    if row is None:
        others = ", ".join(SagaInstance.objects.filter(saga=name).values_list("correlation", flat=True)[:10])
        raise AssertionError(f"No {name} of {correlation} exists. There are: {others or 'none'}.")
    history = tuple(SagaTransition.objects.filter(instance=row.id).order_by("id"))
    seen = SagaSeen(
        state=row.state, data=saga.definition.data.model_validate_json(row.data),
        completed=tuple(each.completed for each in history if each.completed),
        undone=tuple(each.undone for each in history if each.undone), pending=tuple(sorted(row.timeouts)),
        is_ended=row.ended_at is not None, history=history,
    )  # fmt: skip
    wrong = [f"state is {seen.state}, not {state}"] if state not in (None, seen.state) else []
    for key, value in fields.items():
        if getattr(seen.data, key) != value:
            wrong.append(f"{key} is {getattr(seen.data, key)!r}, not {value!r}")
    if wrong:
        path = " → ".join(f"{each.state_after} ({each.message_type.rsplit('.')[-1]})" for each in history)
        raise AssertionError(f"{name} {correlation}: {'; '.join(wrong)}. It went: {path}.")
    return seen


@dataclass(frozen=True, kw_only=True)
class FailureCase:
    """One injected failure: what is done to a fresh saga, and how it must end."""

    failure: str
    """In words: "payment declined"."""
    run: Callable[[Any], object]
    """Gets the harness, drives a saga into the failure and returns its correlation."""
    ends_in: str
    undone: Sequence[str]
    """Steps that must be compensated, in this order; exactly those that were completed."""


def check_failure(harness: Any, saga: type[Saga[Any]], case: FailureCase) -> SagaSeen:
    """Assert that a failure ends in its stated state, with exactly the completed steps compensated, last one first."""
    correlation = case.run(harness)
    seen = look_up(saga, correlation, state=case.ends_in, fields={})
    assert seen.is_ended, f"{case.failure}: it ended in {seen.state}, which is no final state."
    steps = saga.definition.steps
    owed = [step for step in seen.completed if steps[step].needs_undo] if case.undone or _is_undoing(seen) else []
    assert sorted(seen.undone) == sorted(owed), f"{case.failure}: completed {owed}, but undone {list(seen.undone)}."
    assert list(seen.undone) == list(case.undone), f"{case.failure}: undone {list(seen.undone)}, not {case.undone}."
    return seen


def _is_undoing(seen: SagaSeen) -> bool:
    return any(each.state_after == "compensating" for each in seen.history)


def failure_table(saga: type[Saga[Any]], results: Iterable[tuple[FailureCase, SagaSeen]]) -> str:
    """Return the table of failures for the documentation, in Markdown."""
    lines = ["| failure | completed before | compensated, in this order | ends in |", "|---|---|---|---|"]
    for case, seen in results:
        completed, undone = (", ".join(names) or "–" for names in (seen.completed, seen.undone))
        lines.append(f"| {case.failure} | {completed} | {undone} | `{seen.state}` |")
    return "\n".join(lines) + "\n"
