"""Replay a range of history to one consumer, in shadow or for real, through the same operations as the console."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.utils.dateparse import parse_datetime

from messaging.errors import OperationRefused
from messaging.management.base import BusCommand
from messaging.management.commands.dead_letters import operator
from messaging.operations.replays import DEFAULT_RATE, abort_replay, replay_history, resume_replay
from messaging.queries.replays import ReplayRow, get_replay, list_replays


class Command(BusCommand):
    help = "Runs stored messages of a range again for one consumer: in shadow (rolled back, with a report) or for real."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="start|list|show|abort|resume")
        start = actions.add_parser("start", help="begin one; the scheduler carries it on")
        start.add_argument("consumer")
        start.add_argument("--mode", required=True, choices=("shadow", "real"))
        start.add_argument("--since", required=True, type=_moment, help="like 2026-11-24T08:00Z; UTC without a zone")
        start.add_argument("--until", type=_moment, help="now, if not given")
        start.add_argument("--type", action="append", default=[], help="only this type; may be repeated")
        start.add_argument(
            "--rate", type=float, default=DEFAULT_RATE, help="messages per second (default: %(default)s)"
        )
        start.add_argument("--only-missing", action="store_true", help="only what the consumer never had: a backfill")
        start.add_argument("--reason", required=True, help="kept in the audit")
        start.add_argument("--json", action="store_true")
        actions.add_parser("list", help="the newest replays").add_argument("--json", action="store_true")
        for name, what in (
            ("show", "how far it is and what it found"),
            ("abort", "run nothing more of it"),
            ("resume", "go on where it stopped"),
        ):
            one = actions.add_parser(name, help=what)
            one.add_argument("id", type=UUID)
            one.add_argument("--json", action="store_true")
            if name != "show":
                one.add_argument("--reason", required=True, help="kept in the audit")

    def handle(self, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except OperationRefused as error:
            raise CommandError(str(error)) from error

    def _start(self, options: dict[str, Any]) -> None:
        id = replay_history(
            consumer=options["consumer"], mode=options["mode"], since=options["since"], until=options["until"],
            types=options["type"], rate=options["rate"], only_missing=options["only_missing"], actor=operator(),
            reason=options["reason"],
        )  # fmt: skip
        self._show({**options, "id": id})

    def _list(self, options: dict[str, Any]) -> None:
        rows = list_replays()
        if options["json"]:
            self.stdout.write(_json([asdict(row) for row in rows]))
            return
        for row in rows:
            self.stdout.write(_line(row))
        if not rows:
            self.stdout.write("Nothing was replayed yet.")

    def _show(self, options: dict[str, Any]) -> None:
        row = get_replay(options["id"])
        if row is None:
            raise CommandError(f"There is no replay {options['id']}.")
        if options["json"]:
            self.stdout.write(_json(asdict(row)))
            return
        self.stdout.write(_line(row))
        for why, count in row.left_out.items():
            self.stdout.write(f"  {count:,} left out: {why}")
        for words, count in row.report.get("differences", {}).items():
            self.stdout.write(f"  {count:,} × {words}")
        for table, (inserted, updated, deleted) in row.report.get("tables", {}).items():
            self.stdout.write(f"  {table}: {inserted:,} inserted, {updated:,} updated, {deleted:,} deleted")
        for name, count in row.report.get("published", {}).items():
            self.stdout.write(f"  {count:,} {name} would be published")
        if row.last_error:
            self.stdout.write(f"  {row.last_error}")

    def _abort(self, options: dict[str, Any]) -> None:
        abort_replay(id=options["id"], actor=operator(), reason=options["reason"])
        self._show(options)

    def _resume(self, options: dict[str, Any]) -> None:
        resume_replay(id=options["id"], actor=operator(), reason=options["reason"])
        self._show(options)


def _line(row: ReplayRow) -> str:
    found = f", {row.differing:,} differ" if row.mode == "shadow" else ""
    return (
        f"{row.id}  {row.mode}  {row.consumer}  {row.state}  {row.looked_at:,} of {row.total:,} looked at,"
        f" {row.done:,} {'run' if row.mode == 'shadow' else 'sent'}{found}"
    )


def _moment(text: str) -> datetime:
    found = parse_datetime(text)
    if found is None:
        raise ValueError(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str, ensure_ascii=False)
