"""Look at recurring schedules; pause, resume and fire them, through the same guarded operations as the console."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from messaging.errors import OperationRefused
from messaging.management.base import BusCommand
from messaging.management.commands.dead_letters import operator
from messaging.operations import fire_schedule, pause_schedule, resume_schedule
from messaging.queries.scheduling import ScheduleRow, get_schedule, list_schedules


class Command(BusCommand):
    help = "Lists, shows, pauses, resumes and fires recurring schedules."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|pause|resume|fire")
        actions.add_parser("list", help="every schedule").add_argument("--json", action="store_true")
        for name, what in (
            ("show", "one schedule with its next due times"),
            ("pause", "fire it no more"),
            ("resume", "fire it again, from its next due time on"),
            ("fire", "publish its message now"),
        ):
            one = actions.add_parser(name, help=what)
            one.add_argument("name")
            one.add_argument("--json", action="store_true")
            if name != "show":
                one.add_argument("--reason", required=name != "resume", default="", help="kept in the audit")

    def handle(self, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except OperationRefused as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        rows = list_schedules()
        if options["json"]:
            self.stdout.write(_json([asdict(row) for row in rows]))
            return
        for row in rows:
            self._line(row)
        if not rows:
            self.stdout.write("No schedule is declared; see recurring() in the reference.")

    def _show(self, options: dict[str, Any]) -> None:
        row = get_schedule(options["name"])
        if row is None:
            raise CommandError(f"There is no schedule {options['name']!r}.")
        if options["json"]:
            self.stdout.write(_json(asdict(row)))
            return
        self._line(row)
        for due in row.next:
            self.stdout.write(f"  {due.at:%Y-%m-%d %H:%M:%S} UTC  {due.local:%a %H:%M:%S} in {row.zone}")
        if row.last_error:
            self.stdout.write(f"  {row.last_error}")

    def _line(self, row: ScheduleRow) -> None:
        due = f"next {row.next[0].at:%Y-%m-%d %H:%M:%S} UTC" if row.next else "never due"
        self.stdout.write(f"{row.name}  {row.status}  {row.rule} ({row.zone})  {due}  fired {row.fired:,} times")

    def _pause(self, options: dict[str, Any]) -> None:
        pause_schedule(name=options["name"], actor=operator(), reason=options["reason"])
        self._say(options, "is paused", is_paused=True)

    def _resume(self, options: dict[str, Any]) -> None:
        resume_schedule(name=options["name"], actor=operator(), reason=options["reason"])
        self._say(options, "is fired again", is_paused=False)

    def _fire(self, options: dict[str, Any]) -> None:
        message_id = fire_schedule(name=options["name"], actor=operator(), reason=options["reason"])
        self._say(options, f"was fired as message {message_id}", message_id=message_id)

    def _say(self, options: dict[str, Any], what: str, **document: Any) -> None:
        name = options["name"]
        self.stdout.write(_json({"name": name, **document}) if options["json"] else f"{name} {what}.")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str, ensure_ascii=False)
