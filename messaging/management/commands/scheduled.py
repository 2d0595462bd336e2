"""Look at what waits for its time, and hasten or cancel it, through the same guarded operations as the console."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from messaging.errors import OperationRefused
from messaging.management.base import BusCommand
from messaging.management.commands.dead_letters import operator, report
from messaging.operations import (
    DeliveryId,
    cancel_deliveries,
    cancel_messages,
    hasten_deliveries,
    hasten_messages,
)
from messaging.queries.scheduling import list_cancelled, list_scheduled
from messaging.queries.waiting import list_waiting


class Command(BusCommand):
    help = "Lists scheduled messages and delayed retries; hastens or cancels them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|cancelled|retries|hasten|cancel")
        for name, what in (
            ("list", "messages that wait, the next due first"),
            ("cancelled", "messages that were cancelled last"),
            ("retries", "deliveries that wait, the next due first"),
        ):
            listing = actions.add_parser(name, help=what)
            listing.add_argument("--limit", type=int, default=50, help="most rows, 500 at most (default: 50)")
            listing.add_argument("--json", action="store_true")
        for name, what in (("hasten", "make due now"), ("cancel", "never deliver")):
            acting = actions.add_parser(name, help=what)
            acting.add_argument(
                "ids", nargs="+", metavar="ID", help="a message's id, or <message id>/<run>/<consumer> of a retry"
            )
            acting.add_argument("--reason", required=name == "cancel", default="", help="kept in the audit")
            acting.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        action = options["action"]
        if action in ("hasten", "cancel"):
            self._act(action, options)
            return
        limit = options["limit"]
        rows: Any = (
            list_scheduled(limit=limit).rows if action == "list"
            else list_cancelled(limit=limit) if action == "cancelled"
            else list_waiting(limit=limit).rows
        )  # fmt: skip
        if options["json"]:
            self.stdout.write(json.dumps([asdict(row) for row in rows], indent=2, default=str, ensure_ascii=False))
            return
        for row in rows:
            what = f"{row.consumer}  failed {row.failures} times" if action == "retries" else row.key or "-"
            name = row.id if action == "retries" else row.message_id
            self.stdout.write(f"{row.due_at:%Y-%m-%d %H:%M:%S} UTC  {name}  {row.type}  {what}")
        if not rows:
            self.stdout.write("Nothing waits." if action != "cancelled" else "Nothing was cancelled.")

    def _act(self, action: str, options: dict[str, Any]) -> None:
        texts, given = options["ids"], {"actor": operator(), "reason": options["reason"]}
        try:
            if all("/" in text for text in texts):
                change: Any = hasten_deliveries if action == "hasten" else cancel_deliveries
                self._report(change(ids=[DeliveryId.parse(text) for text in texts], **given), action, options)
                return
            change = hasten_messages if action == "hasten" else cancel_messages
            report(self, change(ids=[UUID(text) for text in texts], **given), _PAST[action], as_json=options["json"])
        except ValueError as error:
            raise CommandError("Give ids of messages, or of retries as `scheduled retries` prints them.") from error
        except OperationRefused as error:
            raise CommandError(str(error)) from error

    def _report(self, result: Any, action: str, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(result.as_json(), indent=2))
        else:
            self.stdout.write(f"{len(result.done):,} {_PAST[action]}, {len(result.refused):,} refused.")
            for refusal in result.refused:
                self.stdout.write(f"  {refusal.id}: {refusal.why}")
        if result.refused:
            sys.exit(1)


_PAST = {"hasten": "made due", "cancel": "cancelled"}
