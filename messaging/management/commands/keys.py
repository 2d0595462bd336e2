"""Keys of ordered consumers that wait behind a dead letter: list and release."""

from __future__ import annotations

import getpass
import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from messaging.errors import OperationRefused
from messaging.management.base import BusCommand
from messaging.operations import command_line, release_key
from messaging.queries import lanes
from messaging.queries.consumers import get_consumer


class Command(BusCommand):
    help = "Lists the blocked keys of an ordered consumer, and releases one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|release")
        listing = actions.add_parser("list", help="the longest blocked first")
        listing.add_argument("consumer")
        listing.add_argument("--limit", type=int, default=50)
        listing.add_argument("--json", dest="as_json", action="store_true", help="print one JSON document")
        releasing = actions.add_parser("release", help="let a key go on; its dead letters stay open")
        releasing.add_argument("consumer")
        releasing.add_argument("key")
        releasing.add_argument("--reason", required=True)

    def handle(self, *, action: str, **given: Any) -> None:
        getattr(self, f"_{action}")(**given)

    def _list(self, *, consumer: str, limit: int, as_json: bool, **_: Any) -> None:
        if get_consumer(consumer) is None:
            raise CommandError(f"There is no consumer {consumer!r}.")
        found = lanes.blocked_keys(consumer, limit=limit)
        if as_json:
            self.stdout.write(json.dumps([asdict(row) for row in found], default=str, indent=2))
            return
        for row in found:
            self.stdout.write(f"{row.key}  since {row.since:%Y-%m-%d %H:%M:%S} UTC  {row.waiting:,} wait")
            self.stdout.write(f"    behind dead letter {row.id}  {row.error_type}: {row.error_message[:150]}")
        if not found:
            self.stdout.write("No key is blocked.")

    def _release(self, *, consumer: str, key: str, reason: str, **_: Any) -> None:
        try:
            released = release_key(name=consumer, key=key, actor=command_line(getpass.getuser()), reason=reason)
        except OperationRefused as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(f"{key} goes on; {released:,} dead letters held it and stay open.")
