"""Recurring messages as users declare them: ``recurring(...)`` in a module ``schedules``."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from messaging.contracts.model import MessageModel
from messaging.errors import ConfigurationError
from messaging.policy import seconds
from messaging.scheduling.rules import Rule

Missed = Literal["one", "skip", "all"]
MISSED = ("one", "skip", "all")
Factory = Callable[[datetime], MessageModel]
_NAME = re.compile(r"[\w.:-]{1,200}")


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """A recurring message as declared. ``make`` gets the due time, in UTC."""

    name: str
    make: Factory
    type: str
    """The contract's name; empty when only the factory knows."""
    rule: Rule
    missed: Missed
    missed_limit: int
    key: object | None
    tenant: str
    description: str
    declared_in: str


_schedules: dict[str, Recurrence] = {}


def recurring(
    name: str,
    message: MessageModel | Factory,
    *,
    cron: str = "",
    every: str | float | timedelta | None = None,
    zone: str = "UTC",
    missed: Missed = "one",
    missed_limit: int = 100,
    key: object | None = None,
    tenant: str = "",
    description: str = "",
) -> Recurrence:
    """Declare a message that is published again and again: by ``cron`` in a ``zone``, or ``every`` so often.

    ``message`` is the message itself, or a function that makes it of the due time. ``missed`` says what becomes of due
    times at which nothing ran: "one" message for all of them, "skip", or "all" (the newest ``missed_limit``).

    Raises:
        ConfigurationError: the rule is wrong or never due, or the name is taken.
    """
    module = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001  names the place of the declaration
    rule = Rule(cron=" ".join(cron.split()), interval_seconds=_interval(name, every), zone=zone)
    try:
        rule.check()
    except ConfigurationError as error:
        raise ConfigurationError(f"recurring({name!r}): {error}.") from error
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"recurring({name!r}): a name has 1 to 200 letters, digits, dots, dashes, colons or _."
        )
    if missed not in MISSED or not 1 <= missed_limit <= 1000:
        raise ConfigurationError(
            f"recurring({name!r}): missed= is one of {', '.join(MISSED)}, missed_limit= 1 to 1000."
        )
    if not isinstance(message, MessageModel) and not callable(message):
        raise ConfigurationError(f"recurring({name!r}) needs a message, or a function (due_at) -> message.")
    declared = Recurrence(
        name=name, make=_always(message) if isinstance(message, MessageModel) else message, type=_type_of(message),
        rule=rule, missed=missed, missed_limit=missed_limit, key=key, tenant=tenant,
        description=description or _documentation(message), declared_in=module,
    )  # fmt: skip
    earlier = _schedules.get(name)
    if earlier and earlier.declared_in != module:
        raise ConfigurationError(
            f"Two schedules are named {name!r}: in {earlier.declared_in} and {module}; rename one."
        )
    _schedules[name] = declared
    return declared


def all_schedules() -> list[Recurrence]:
    """Return every schedule of this process, sorted by name."""
    return [_schedules[name] for name in sorted(_schedules)]


def find_schedule(name: str) -> Recurrence | None:
    return _schedules.get(name)


def forget_schedule(name: str) -> None:
    """Take a schedule out of the registry again (for tests that declare their own)."""
    _schedules.pop(name, None)


def _interval(name: str, every: str | float | timedelta | None) -> int | None:
    if every is None:
        return None
    length = seconds(every)
    if length != int(length):
        raise ConfigurationError(f"recurring({name!r}): every={every!r} must be a whole number of seconds.")
    return int(length)


def _always(message: MessageModel) -> Factory:
    return lambda _: message


def _type_of(message: MessageModel | Factory) -> str:
    if isinstance(message, MessageModel):
        return message.contract_name
    try:
        made = typing.get_type_hints(message).get("return")
    except (NameError, TypeError):  # annotations that cannot be resolved, or none
        return ""
    return made.contract_name if isinstance(made, type) and issubclass(made, MessageModel) else ""


def _documentation(message: MessageModel | Factory) -> str:
    documented = type(message) if isinstance(message, MessageModel) else message
    return (inspect.getdoc(documented) or "").split("\n\n")[0]
