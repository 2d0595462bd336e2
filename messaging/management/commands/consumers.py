"""Look at consumers and hold them, through the same guarded operations as the console."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from messaging import clock, operations
from messaging.errors import ConfigurationError, OperationRefused
from messaging.management.base import BusCommand
from messaging.management.commands.dead_letters import operator
from messaging.policy import seconds
from messaging.queries.consumers import ConsumerRow, get_consumer, list_consumers

_ACTIONS = {
    "pause": "stop claiming; what runs finishes",
    "resume": "claim again",
    "drain": "finish what is there, then pause",
    "trip": "open the breaker",
    "reset": "close the breaker",
    "limit": "put another rate or concurrency in place of the code's",
    "unlimit": "let the limits of the code hold again",
}
_NEED_REASON = {"pause", "drain", "trip", "limit"}


class Command(BusCommand):
    help = "Lists and shows consumers; pauses, drains, resumes and limits them; trips and resets their breakers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="|".join(("list", "show", *_ACTIONS)))
        actions.add_parser("list", help="worst first").add_argument("--json", action="store_true")
        showing = actions.add_parser("show", help="one consumer")
        showing.add_argument("name")
        showing.add_argument("--json", action="store_true")
        for action, what in _ACTIONS.items():
            acting = actions.add_parser(action, help=what)
            acting.add_argument("name")
            acting.add_argument("--reason", required=action in _NEED_REASON, default="")
            if action in ("pause", "trip"):
                acting.add_argument("--for", dest="length", default="", help='ends by itself: "15m", "2h"')
            if action == "limit":
                acting.add_argument("--rate", default="", help='messages per time: "50/1s", "600/1m"')
                acting.add_argument("--burst", type=int)
                acting.add_argument("--concurrency", type=int)

    def handle(self, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}", self._act)(options)
        except (OperationRefused, ConfigurationError) as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        rows = list_consumers()
        if options["json"]:
            self.stdout.write(_json([asdict(row) for row in rows]))
            return
        for row in rows:
            self.stdout.write(f"{row.name}  {state(row)}  {row.backlog:,} waiting, {row.dead_letters:,} dead letters")

    def _show(self, options: dict[str, Any]) -> None:
        row = get_consumer(options["name"])
        if row is None:
            raise CommandError(f"There is no consumer {options['name']!r}.")
        if options["json"]:
            self.stdout.write(_json(asdict(row)))
            return
        for name, value in asdict(row).items():
            self.stdout.write(f"{name:<20}  {_json(value) if isinstance(value, dict | list) else value}")

    def _act(self, options: dict[str, Any]) -> None:
        action, given = options["action"], {"actor": operator(), "reason": options["reason"]}
        name = options["name"]
        match action:
            case "pause":
                operations.pause_consumer(name=name, until=until(options["length"]), **given)
            case "trip":
                operations.trip_breaker(kind="consumer", name=name, until=until(options["length"]), **given)
            case "reset":
                operations.reset_breaker(kind="consumer", name=name, **given)
            case "limit":
                rate = read_rate(options["rate"], options["burst"])
                operations.override_limits(name=name, rate=rate, concurrency=options["concurrency"], **given)
            case "unlimit":
                operations.clear_override(name=name, **given)
            case "drain":
                operations.drain_consumer(name=name, **given)
            case "resume":
                operations.resume_consumer(name=name, **given)
        row = get_consumer(name)
        self.stdout.write(f"{name}: {state(row) if row else 'done'}.")


def state(row: ConsumerRow) -> str:
    """Say in words what holds a consumer."""
    held = [row.status]
    if row.gate and row.gate.breaker != "closed":
        held.append(f"breaker {row.gate.breaker.replace('_', ' ')}")
    if row.gate and row.gate.overridden_at:
        held.append("limited by an operator")
    if row.behind_since:
        held.append("behind")
    return ", ".join(held)


def until(length: str) -> Any:
    """Return the end of a hold of this length from now; None without one."""
    return clock.now() + timedelta(seconds=seconds(length)) if length else None


def read_rate(text: str, burst: int | None) -> tuple[float, str, int | None] | None:
    """Read "50/1s" with its burst.

    Raises:
        CommandError: it is no rate.
    """
    if not text:
        return None
    count, _, per = text.partition("/")
    try:
        return float(count), per or "1s", burst
    except ValueError as error:
        raise CommandError(f'--rate {text!r} is no rate; write "50/1s" or "600/1m".') from error


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str, ensure_ascii=False)
