"""Recount everything from the tables; the exit code is 1 when something is lost, duplicated or violated."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError
from django.utils.dateparse import parse_datetime

from messaging.management.base import BusCommand
from messaging.verification import Outcomes, Report, verify

_COLUMNS = [field.name for field in fields(Outcomes)]


class Command(BusCommand):
    help = "Recounts, per flow and consumer, what became of every message, and checks counters and business invariants."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")
        parser.add_argument("--since", metavar="TIME", help="only messages published then or later (ISO 8601)")

    def handle(self, **options: Any) -> None:
        report = verify(since=_moment(options["since"]), with_counters=True)
        if options["json"]:
            self.stdout.write(json.dumps(_document(report), indent=2))
        else:
            self._print(report)
        if not report.is_sound:
            sys.exit(1)

    def _print(self, report: Report) -> None:
        self._table(
            ["flow", "flows", "published", *_COLUMNS],
            [[f.root, f.flows, f.published, *_values(f.outcomes)] for f in report.flows],
        )
        self._table(["consumer", *_COLUMNS], [[c.consumer, *_values(c.outcomes)] for c in report.consumers])
        for what, culprits in (("lost", report.lost), ("duplicated", report.duplicated)):
            for culprit in culprits:
                self.stdout.write(self.style.ERROR(f"{what}: message {culprit.message_id} at {culprit.consumer}"))
        for result in report.invariants:
            style, word = (self.style.ERROR, "BROKEN") if result.violations else (self.style.SUCCESS, "holds ")
            self.stdout.write(f"{style(word)}  {result.name}")
            for violation in result.violations:
                self.stdout.write(f"        {violation}")
        style, word = (self.style.ERROR, "BROKEN") if report.counters else (self.style.SUCCESS, "holds ")
        self.stdout.write(f"{style(word)}  counters equal a recount of history")
        for difference in report.counters:
            self.stdout.write(f"        {difference}")
        verdict = "Sound: nothing lost, nothing duplicated, every invariant holds."
        self.stdout.write(self.style.SUCCESS(verdict) if report.is_sound else self.style.ERROR("Not sound; see above."))

    def _table(self, head: list[str], rows: list[list[Any]]) -> None:
        lines = [[name.replace("_", " ") for name in head], *[[_shown(cell) for cell in row] for row in rows]]
        widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
        for first, *rest in lines:
            cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
            self.stdout.write("  ".join([first.ljust(widths[0]), *cells]))
        self.stdout.write("")


def _values(outcomes: Outcomes) -> list[int]:
    return [getattr(outcomes, name) for name in _COLUMNS]


def _shown(cell: Any) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _document(report: Report) -> dict[str, Any]:
    return {
        "is_sound": report.is_sound,
        "as_of": report.as_of.isoformat(),
        "since": report.since.isoformat() if report.since else None,
        "flows": [
            {"root": f.root, "flows": f.flows, "published": f.published, **asdict(f.outcomes)} for f in report.flows
        ],
        "consumers": [{"consumer": c.consumer, **asdict(c.outcomes)} for c in report.consumers],
        "lost": [{"message_id": str(c.message_id), "consumer": c.consumer} for c in report.lost],
        "duplicated": [{"message_id": str(c.message_id), "consumer": c.consumer} for c in report.duplicated],
        "invariants": [
            {"name": i.name, "holds": not i.violations, "violations": list(i.violations)} for i in report.invariants
        ],
        "wrong_counters": list(report.counters),
    }


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise CommandError(f"--since {text!r} is not a time; write 2026-11-23T14:00:00Z.")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
