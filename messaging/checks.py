"""Startup checks: wrong settings, event names that are not in the past tense."""

from __future__ import annotations

import re
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Error, register

from messaging.consumers import all_consumers
from messaging.contracts.registry import known
from messaging.dependencies import find_dependency
from messaging.errors import ConfigurationError
from messaging.settings import options

_PARTICLE = re.compile(r"(?<=[a-z])(Out|Up|Off|In|Back|Down|Over|Away)\Z")
"""Of a verb of two words: SoldOut, CheckedIn, TimedOut."""
_LAST_WORD = re.compile(r"[A-Z][a-z0-9]*\Z")
# fmt: off
_IRREGULAR = frozenset({
    "Begun", "Born", "Bought", "Broken", "Brought", "Built", "Caught", "Chosen", "Cut", "Done", "Drawn", "Fallen",
    "Felt", "Found", "Frozen", "Given", "Gone", "Grown", "Held", "Hidden", "Hit", "Kept", "Known", "Laid", "Left",
    "Lent", "Lost", "Made", "Met", "Paid", "Put", "Read", "Run", "Seen", "Sent", "Set", "Shown", "Shut", "Sold",
    "Spent", "Split", "Started", "Stolen", "Swept", "Taken", "Taught", "Told", "Thrown", "Understood", "Won",
    "Withdrawn", "Written",
})
# fmt: on


@register("messaging")
def check_settings(**_: Any) -> list[CheckMessage]:
    try:
        options()
    except ConfigurationError as error:
        return [Error(str(error), hint="See messaging.settings.Options for every key.", id="messaging.E001")]
    return []


@register("messaging")
def check_event_names(**_: Any) -> list[CheckMessage]:
    return [
        checks.Warning(
            f"Event {contract.name} is not named in the past tense.",
            hint="An event is a fact: OrderPlaced, PaymentDeclined. A request is a Command.",
            id="messaging.W001",
        )
        for contract in known()
        if contract.kind != "command" and not is_past_tense(contract.name.rsplit(".", 1)[-1])
    ]


@register("messaging")
def check_command_handlers(**_: Any) -> list[CheckMessage]:
    commands = {contract.name: contract.model for contract in known() if contract.kind == "command"}
    errors: list[CheckMessage] = []
    for name, model in sorted(commands.items()):
        handlers = [declared.name for declared in all_consumers() if name in declared.accepts]
        owner = getattr(model, "contract_handled_by", "")
        is_elsewhere = bool(owner) and owner != options().source
        if len(handlers) != (0 if is_elsewhere else 1):
            where = f"it is handled_by {owner!r}, not here" if is_elsewhere else "a command has exactly one"
            errors.append(
                Error(
                    f"Command {name} has {len(handlers)} handlers: {', '.join(handlers) or 'none'}; {where}.",
                    hint="Declare one @consumer for it, or say handled_by= in its class when another service has it.",
                    id="messaging.E002",
                )
            )
    return errors


@register("messaging")
def check_dependencies(**_: Any) -> list[CheckMessage]:
    return [
        Error(
            f"{declared.name} depends on {name}, which nobody declared.",
            hint=f'Write Dependency("{name}", breaker=Breaker(...)) once, in a module that is loaded at start.',
            id="messaging.E004",
        )
        for declared in all_consumers()
        for name in declared.depends_on
        if find_dependency(name) is None
    ]


def is_past_tense(name: str) -> bool:
    """Say whether the last word of a CamelCase name is in the past tense."""
    match = _LAST_WORD.search(_PARTICLE.sub("", name))
    return match is not None and (match.group().endswith("ed") or match.group() in _IRREGULAR)
