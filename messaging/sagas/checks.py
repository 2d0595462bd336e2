"""Startup checks of saga definitions: what could not work is said before the first message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, register

from messaging.sagas.definition import Definition
from messaging.sagas.saga import all_sagas


@register("messaging")
def check_sagas(**_: Any) -> list[CheckMessage]:
    return [error for saga in all_sagas() for error in errors_of(saga.definition)]


def errors_of(definition: Definition) -> Iterator[Error]:
    """Yield what is wrong with a definition: E010 states, E011 correlation, E012 steps."""
    yield from _states(definition)
    yield from _correlation(definition)
    yield from _steps(definition)


def _states(definition: Definition) -> Iterator[Error]:
    edges = list(definition.edges())
    reached, grown = {""}, True
    while grown:
        found = {edge.after for edge in edges if edge.before in reached} - reached
        reached, grown = reached | found, bool(found)
    if not any(rule.is_start for rule in definition.rules):
        yield _error(
            definition, "no message starts it", "Declare one with @starts(Message, to=state).", id="messaging.E010"
        )
    for name, state in definition.states.items():
        if name not in reached:
            yield _error(
                definition,
                f"state {name} cannot be reached",
                "Lead to it with to=, or take it out.",
                id="messaging.E010",
            )
        leaves = any(edge.before == name and edge.after != name for edge in edges)
        if state.is_final and leaves:
            yield _error(
                definition, f"final state {name} is left again", "A final state is the end.", id="messaging.E010"
            )
        if not state.is_final and not leaves and name in reached:
            yield _error(
                definition, f"state {name} cannot be left", "Lead on from it, or make it final.", id="messaging.E010"
            )
    for rule in definition.rules:
        ends = rule.to is not None and rule.to.is_final
        if rule.compensates and not ends:
            yield _error(
                definition,
                f"{rule.name} compensates but ends nowhere",
                "Give it to= a final state.",
                id="messaging.E010",
            )
        for state in (*rule.at, *([rule.to] if rule.to else [])):
            if state.name not in definition.states or definition.states[state.name] is not state:
                yield _error(
                    definition, f"{rule.name} names a state of another saga", "Use its own states.", id="messaging.E010"
                )


def _correlation(definition: Definition) -> Iterator[Error]:
    if definition.correlation not in definition.data.model_fields:
        yield _error(
            definition, f"correlation={definition.correlation!r} is no field of {definition.data.__name__}",
            'class Name(Saga[Data], correlation="order_id") names the field by which messages find their saga.',
            id="messaging.E011",
        )  # fmt: skip
    for model in definition.models():
        by = definition.by_of(model)
        if isinstance(by, str) and by.split(".")[0] not in model.model_fields:
            yield _error(
                definition, f"{model.__name__} has no field {by!r} to find its saga by",
                'Say which with by="field" or by=lambda message: ....', id="messaging.E011",
            )  # fmt: skip


def _steps(definition: Definition) -> Iterator[Error]:
    compensates = any(rule.compensates for rule in definition.rules)
    completed = {rule.completes.name for rule in definition.rules if rule.completes}
    for name, step in definition.steps.items():
        if compensates and step.needs_undo and step.compensation is None:
            yield _error(
                definition, f"step {name} has no compensation",
                f"Declare it with @{name}.undo, or say Step(needs_undo=False).", id="messaging.E012",
            )  # fmt: skip
        if name not in completed:
            yield _error(
                definition,
                f"step {name} is never completed",
                "Note it with completes=, or remove it.",
                id="messaging.E012",
            )


def _error(definition: Definition, what: str, hint: str, *, id: str) -> Error:
    return Error(f"Saga {definition.name}: {what}.", hint=hint, id=id)
