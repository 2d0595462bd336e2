"""Run dead letters again, unchanged: the short form of ``dead_letters replay``."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from messaging.errors import OperationRefused
from messaging.management.base import BusCommand
from messaging.management.commands.dead_letters import replay


class Command(BusCommand):
    help = "Runs dead letters again, unchanged, for the consumer that failed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ids", type=UUID, nargs="+", metavar="ID", help="dead letter")
        parser.add_argument("--reason", default="", help="kept in the audit")
        parser.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        try:
            replay(self, options["ids"], options)
        except OperationRefused as error:
            raise CommandError(str(error)) from error
