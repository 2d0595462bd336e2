"""A saga's state machine as one value: what the engine asks, what the checks look at, what the diagram draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from messaging.contracts.model import MessageModel
from messaging.errors import ConfigurationError, PermanentError
from messaging.policy import seconds
from messaging.sagas.declaring import By, Policy, Rule, SagaData, State, Step

COMPENSATING = "compensating"
"""The state of every saga while its completed steps are undone."""


@dataclass(frozen=True)
class Edge:
    """One way from a state to another, for diagrams and recounts. ``before`` is "" where a saga starts."""

    before: str
    after: str
    label: str
    kind: str
    rule: str


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A saga as declared."""

    name: str
    data: type[SagaData]
    correlation: str
    states: dict[str, State]
    steps: dict[str, Step]
    rules: tuple[Rule, ...]
    not_found: Policy
    wrong_state: Policy
    defer_seconds: float
    description: str

    def models(self) -> list[type[MessageModel]]:
        """Return every contract that it wants, once each."""
        wanted = [model for rule in self.rules for model in rule.models]
        wanted += [step.undone_by for step in self.steps.values() if step.undone_by]
        return list(dict.fromkeys(wanted))

    def rules_for(self, model: type[MessageModel]) -> list[Rule]:
        """Return the rules of a message, in the order of their declaration."""
        return [rule for rule in self.rules if rule.kind == "message" and model in rule.models]

    def rule_named(self, name: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.name == name), None)

    def timeouts_at(self, state: str) -> list[Rule]:
        return [rule for rule in self.rules if rule.kind == "timeout" and self.states.get(state) in rule.at]

    def composites(self) -> list[Rule]:
        return [rule for rule in self.rules if rule.kind == "composite"]

    def entries_to(self, state: str) -> list[Rule]:
        return [rule for rule in self.rules if rule.kind == "entry" and self.states.get(state) in rule.at]

    def is_final(self, state: str) -> bool:
        return state in self.states and self.states[state].is_final

    def by_of(self, model: type[MessageModel]) -> By:
        """Return what a message's correlation is read from."""
        said = [rule.by for rule in self.rules if model in rule.models and rule.by is not None]
        return said[0] if said else self.correlation

    def correlation_of(self, message: MessageModel) -> str:
        """Return the correlation that a message names.

        Raises:
            PermanentError: it names none.
        """
        by = self.by_of(type(message))
        value: Any = by(message) if callable(by) else _follow(message, by)
        if value is None or str(value) == "":
            raise PermanentError(f"{message.contract_name} names no {self.correlation}: it can find no {self.name}.")
        return str(value)

    def policy(self, model: type[MessageModel], which: str) -> Policy:
        """Return what becomes of a message that finds no saga ("not_found"), or one in a "wrong_state"."""
        said = [getattr(rule, which) for rule in self.rules_for(model) if getattr(rule, which)]
        default: Policy = getattr(self, which)
        return said[0] if said else default

    def edges(self) -> Iterator[Edge]:
        """Yield every way between states that a rule opens."""
        for rule in self.rules:
            if rule.kind == "entry":
                continue
            label = {
                "message": ", ".join(model.__name__ for model in rule.models),
                "composite": f"all of {', '.join(model.__name__ for model in rule.models)}",
                "timeout": rule.name,
            }[rule.kind]
            for before in [state.name for state in rule.at] or [""]:
                after = rule.to.name if rule.to else before
                if rule.compensates:
                    yield Edge(before, COMPENSATING, label, rule.kind, rule.name)
                    yield Edge(COMPENSATING, after, "all undone", "undo", rule.name)
                else:
                    yield Edge(before, after, label, rule.kind, rule.name)

    def default_undoing_to(self) -> str:
        """Return where a compensation by hand ends: where the first rule that compensates does, or ""."""
        return next((rule.to.name for rule in self.rules if rule.compensates and rule.to), "")


def _follow(message: Any, path: str) -> Any:
    for part in path.split("."):
        message = getattr(message, part, None)
    return message


def define(cls: type, *, data: type[SagaData], correlation: str, name: str, **policies: Any) -> Definition:
    """Collect what a class declares.

    Raises:
        ConfigurationError: two methods answer the same message in the same state, or a state's name is reserved.
    """
    members = {key: value for base in reversed(cls.__mro__) for key, value in vars(base).items()}
    states = {key: value for key, value in members.items() if isinstance(value, State)}
    if COMPENSATING in states:
        raise ConfigurationError(f"{cls.__name__}: {COMPENSATING!r} is a state of every saga; name yours otherwise.")
    rules = tuple(
        _named(rule, key, method) for key, method in members.items() for rule in getattr(method, "saga_rules", ())
    )
    made = Definition(
        name=name, data=data, correlation=correlation, states=states, rules=rules,
        steps={key: value for key, value in members.items() if isinstance(value, Step)},
        not_found=policies.get("not_found", "dead_letter"), wrong_state=policies.get("wrong_state", "dead_letter"),
        defer_seconds=seconds(policies.get("defer_for", "10m")), description=(cls.__doc__ or "").strip(),
    )  # fmt: skip
    _refuse_ambiguity(made)
    return made


def _named(rule: Rule, name: str, method: Any) -> Rule:
    from dataclasses import replace

    return replace(rule, name=name, action=method)


def _refuse_ambiguity(made: Definition) -> None:
    seen: dict[tuple[str, str], str] = {}
    for rule in made.rules:
        if rule.kind != "message" or rule.when is not None:
            continue
        for model in rule.models:
            for state in [state.name for state in rule.at] or [""]:
                other = seen.setdefault((model.contract_name, state), rule.name)
                if other != rule.name:
                    raise ConfigurationError(
                        f"{made.name}: {other} and {rule.name} both answer {model.__name__} at {state or 'the start'};"
                        " give one of them when=."
                    )
