"""List, show and repair sagas at a shell."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from messaging import operations
from messaging.errors import OperationRefused
from messaging.management.base import BusCommand
from messaging.management.commands.dead_letters import operator
from messaging.queries import sagas as reads


class Command(BusCommand):
    help = "Lists and shows sagas; runs again what failed, compensates, completes, fires timeouts."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true")
        actions = parser.add_subparsers(dest="action", required=True)
        listed = actions.add_parser("list", help="the newest first")
        listed.add_argument("--saga", default="")
        listed.add_argument("--state", default="")
        listed.add_argument("--show", choices=("unfinished", "failed", "ended", "all"), default="unfinished")
        for name, help in (
            ("show", "one instance with its history"), ("retry", "run again what is dead-lettered in its flow"),
            ("compensate", "undo its completed steps"), ("complete", "end it by hand"), ("fire", "a timeout, now"),
        ):  # fmt: skip
            one = actions.add_parser(name, help=help)
            one.add_argument("saga")
            one.add_argument("correlation")
            if name != "show":
                one.add_argument("--reason", required=True, help="kept in the audit")
            if name in ("compensate", "complete"):
                one.add_argument("--to", required=name == "complete", default="", help="the final state")
            if name == "fire":
                one.add_argument("--timeout", required=True)

    def handle(self, **options: Any) -> None:
        action = options["action"]
        if action == "list":
            self._list(options)
        elif action == "show":
            self._show(options)
        else:
            self._act(action, options)

    def _list(self, options: dict[str, Any]) -> None:
        page = reads.list_sagas(saga=options["saga"], state=options["state"], show=options["show"], limit=500)
        if options["json"]:
            self._print([asdict(row) for row in page.rows])
            return
        for row in page.rows:
            mark = "FAILED  " if row.is_failed else ""
            self.stdout.write(f"{row.saga}  {row.correlation}  {mark}{row.state}  {row.changed_at:%Y-%m-%d %H:%M:%S}Z")
        self.stdout.write(f"{len(page.rows)} shown{'; there are more' if page.older else ''}.")

    def _show(self, options: dict[str, Any]) -> None:
        found = reads.saga_detail(saga=options["saga"], correlation=options["correlation"])
        if found is None:
            raise CommandError(f"There is no {options['saga']} of {options['correlation']}.")
        if options["json"]:
            left_out = {"definition", "history"}
            shown = {name: getattr(found, name) for name in found.__dataclass_fields__ if name not in left_out}
            self._print({**shown, "row": asdict(found.row), "history": [asdict(each) for each in found.history],
                         "failures": [asdict(each) for each in found.failures]})  # fmt: skip
            return
        self.stdout.write(f"{found.row.saga} {found.row.correlation}: {found.row.state}")
        for each in reversed(found.history):
            before = each.state_before or "(start)"
            self.stdout.write(f"  {each.number:>3}  {each.message_type}  {before} → {each.state_after}  {each.note}")

    def _act(self, action: str, options: dict[str, Any]) -> None:
        act: Any = {
            "retry": operations.retry_saga, "compensate": operations.compensate_saga,
            "complete": operations.complete_saga, "fire": operations.fire_saga_timeout,
        }[action]  # fmt: skip
        given = {name: options[name] for name in ("saga", "correlation", "reason", "to", "timeout") if name in options}
        try:
            act(actor=operator(), **given)
        except OperationRefused as refused:
            raise CommandError(str(refused)) from refused
        self.stdout.write("Accepted; the saga's worker does it.")

    def _print(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False))
