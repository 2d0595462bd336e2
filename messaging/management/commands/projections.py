"""Look at projections, build them anew from history."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from messaging.errors import OperationRefused
from messaging.eventstore import building
from messaging.management.base import BusCommand
from messaging.management.commands.dead_letters import operator
from messaging.operations.projections import rebuild_projection
from messaging.queries.projections import ProjectionRow, list_projections


class Command(BusCommand):
    help = "Lists projections, builds them from history."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|build|rebuild")
        actions.add_parser("list", help="every projection").add_argument("--json", action="store_true")
        actions.add_parser("build", help="do what the scheduler does, now, until every projection is live")
        again = actions.add_parser("rebuild", help="begin a new generation beside the live one")
        again.add_argument("name")
        again.add_argument("--reason", required=True, help="kept in the audit")

    def handle(self, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(options)

    def _list(self, options: dict[str, Any]) -> None:
        rows = list_projections()
        if options["json"]:
            self.stdout.write(json.dumps([asdict(row) for row in rows], indent=2, default=str))
            return
        for row in rows:
            self.stdout.write(_line(row))
        if not rows:
            self.stdout.write("No projection is declared; see docs/event-store.md.")

    def _build(self, options: dict[str, Any]) -> None:
        streams = 0
        while read := building.advance_projections():
            streams += read
        failed = [row for row in list_projections() if row.last_error]
        if failed:
            raise CommandError("\n".join(f"{row.name}: {row.last_error}" for row in failed))
        self.stdout.write(f"{streams:,} streams were read; every projection is live.")

    def _rebuild(self, options: dict[str, Any]) -> None:
        try:
            generation = rebuild_projection(name=options["name"], actor=operator(), reason=options["reason"])
        except OperationRefused as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Generation {generation} of {options['name']} is being built; the old one stays readable.")


def _line(row: ProjectionRow) -> str:
    live = f"generation {row.generation} live" if row.generation else "not live yet"
    under_way = (
        f", {row.building} being built: {row.streams:,} of {row.streams_total:,} streams" if row.building else ""
    )
    return f"{row.name}  v{row.version}  {live}{under_way}{'  ' + row.last_error if row.last_error else ''}"
