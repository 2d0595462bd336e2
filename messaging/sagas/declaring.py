"""The words in which a saga is declared: states, steps, and methods that say what leads where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from messaging.contracts.model import MessageModel
from messaging.errors import ConfigurationError
from messaging.policy import seconds

M = TypeVar("M", bound=Callable[..., None])
By = str | Callable[[Any], Any]
Policy = Literal["ignore", "defer", "dead_letter"]
POLICIES = ("ignore", "defer", "dead_letter")
After = str | float | timedelta | Callable[[Any], "datetime | timedelta"]
RULES = "saga_rules"
Kind = Literal["message", "composite", "timeout", "entry"]


class SagaData(BaseModel):
    """What a saga remembers. Changes are validated at once, unknown fields are refused."""

    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, allow_inf_nan=False, use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )  # fmt: skip


class State:
    """A state of a saga. A saga that reaches a ``final`` one has ended."""

    def __init__(self, *, final: bool = False) -> None:
        self.is_final = final
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name or "(a state without a name)"


class Step:
    """Something that a saga gets done, and that is compensated when a later step fails.

    ``undone_by`` names the event that confirms the compensation; the step before is not compensated until it came.
    ``needs_undo=False`` says that there is nothing to compensate.
    """

    def __init__(self, *, needs_undo: bool = True, undone_by: type[MessageModel] | None = None) -> None:
        self.needs_undo = needs_undo
        self.undone_by = undone_by
        self.compensation: Callable[..., None] | None = None
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def undo(self, method: M) -> M:
        """Declare the compensation: ``undo(self)`` or ``undo(self, done)``, the message that completed the step."""
        self.compensation = method
        return method


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of the state machine. ``at`` is empty where it starts a saga; without ``to`` the state stays."""

    kind: Kind
    models: tuple[type[MessageModel], ...] = ()
    at: tuple[State, ...] = ()
    to: State | None = None
    by: By | None = None
    when: Callable[[Any], bool] | None = None
    completes: Step | None = None
    compensates: bool = False
    not_found: Policy | None = None
    wrong_state: Policy | None = None
    after: After | None = None
    name: str = ""
    action: Callable[..., None] = field(default=lambda self, *message: None)

    @property
    def is_start(self) -> bool:
        return self.kind == "message" and not self.at


def starts(
    model: type[MessageModel], *, to: State, by: By | None = None, completes: Step | None = None
) -> Callable[[M], M]:
    """Declare that a message starts a saga, unless one of its correlation exists."""
    return _declare(Rule(kind="message", models=(model,), to=to, by=by, completes=completes))


def on(
    model: type[MessageModel],
    *,
    at: State | tuple[State, ...],
    to: State | None = None,
    by: By | None = None,
    when: Callable[[Any], bool] | None = None,
    completes: Step | None = None,
    compensates: bool = False,
    not_found: Policy | None = None,
    wrong_state: Policy | None = None,
) -> Callable[[M], M]:
    """Declare what a message leads to ``at`` a state: ``to`` another one, or nowhere when it stays.

    ``by`` names the field (or is a function) whose value is the saga's correlation. ``when`` looks at the message and
    may refuse this rule; the next one declared is asked. ``completes`` notes a step as done; ``compensates`` undoes
    the completed steps first, the last one first, and ends in ``to``. ``not_found`` and ``wrong_state`` say what
    becomes of a message that finds no saga, or one in another state: "ignore", "defer" or "dead_letter".
    """
    return _declare(
        Rule(
            kind="message",
            models=(model,),
            at=_states(at),
            to=to,
            by=by,
            when=when,
            completes=completes,
            compensates=compensates,
            not_found=not_found,
            wrong_state=wrong_state,
        )
    )


def when_all(*models: type[MessageModel], at: State, to: State, by: By | None = None) -> Callable[[M], M]:
    """Declare what happens once all these messages came, in any order, while ``at`` a state.

    A message without an ``on`` of its own there only counts. ``self.ask_again(Model)`` makes one count anew.
    """
    return _declare(Rule(kind="composite", models=models, at=(at,), to=to, by=by))


def timeout(
    after: After, *, at: State | tuple[State, ...], to: State | None = None, compensates: bool = False
) -> Callable[[M], M]:
    """Declare what happens when a saga is still ``at`` a state ``after`` so long ("15m").

    A function gets the data and returns a timedelta, or the moment. It is set when the state is entered, and taken
    back when it is left.

    Raises:
        ConfigurationError: ``after`` is no duration.
    """
    if not callable(after):
        seconds(after)
    return _declare(Rule(kind="timeout", at=_states(at), to=to, compensates=compensates, after=after))


def entering(state: State) -> Callable[[M], M]:
    """Declare what is done when a saga comes to a state, whoever led there: a message, a timeout, or an operator.

    For a final state behind a compensation that is once everything is undone; again if a step that was completed
    late had to be undone afterwards.
    """
    return _declare(Rule(kind="entry", at=_states(state)))


def _states(at: State | tuple[State, ...]) -> tuple[State, ...]:
    states = at if isinstance(at, tuple) else (at,)
    if not states or not all(isinstance(state, State) for state in states):
        raise ConfigurationError(f"at={at!r} must be a State of the saga, or several.")
    return states


def _declare(rule: Rule) -> Callable[[M], M]:
    for policy in (rule.not_found, rule.wrong_state):
        if policy is not None and policy not in POLICIES:
            raise ConfigurationError(f"{policy!r} is none of {', '.join(POLICIES)}.")

    def note(method: M) -> M:
        rules: list[Rule] = getattr(method, RULES, [])
        setattr(method, RULES, [rule, *rules])  # a function carries what was said of it
        return method

    return note
