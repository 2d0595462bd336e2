"""Look at what consumers depend on; trip and reset its breakers."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from messaging import operations
from messaging.errors import ConfigurationError, OperationRefused
from messaging.management.base import BusCommand
from messaging.management.commands.consumers import until
from messaging.management.commands.dead_letters import operator
from messaging.queries.limits import get_dependency, list_dependencies


class Command(BusCommand):
    help = "Lists dependencies with the consumers that they hold; trips and resets their breakers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|trip|reset")
        actions.add_parser("list", help="open ones first").add_argument("--json", action="store_true")
        for action in ("trip", "reset"):
            acting = actions.add_parser(action)
            acting.add_argument("name")
            acting.add_argument("--reason", required=action == "trip", default="")
        actions.choices["trip"].add_argument("--for", dest="length", default="", help='a probe may pass then: "15m"')

    def handle(self, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except (OperationRefused, ConfigurationError) as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        rows = list_dependencies()
        if options["json"]:
            self.stdout.write(json.dumps([asdict(row) for row in rows], indent=2, default=str))
            return
        for row in rows:
            held = ", ".join(row.consumers) or "no consumer"
            self.stdout.write(f"{row.name}  {row.breaker.replace('_', ' ')}  {held}")

    def _trip(self, options: dict[str, Any]) -> None:
        operations.trip_breaker(
            kind="dependency", name=options["name"], actor=operator(), reason=options["reason"],
            until=until(options["length"]),
        )  # fmt: skip
        self._say(options["name"])

    def _reset(self, options: dict[str, Any]) -> None:
        operations.reset_breaker(
            kind="dependency", name=options["name"], actor=operator(), reason=options["reason"]
        )  # fmt: skip
        self._say(options["name"])

    def _say(self, name: str) -> None:
        row = get_dependency(name)
        self.stdout.write(f"{name}: {row.breaker.replace('_', ' ') if row else 'done'}.")
