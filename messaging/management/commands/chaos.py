"""Let things go wrong on purpose, on a system whose settings allow it."""

from __future__ import annotations

import getpass
import json
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from messaging.chaos import EVERY_CONSUMER
from messaging.errors import ConfigurationError, OperationRefused
from messaging.management.base import BusCommand
from messaging.operations import Faults, command_line, end_faults, inject_faults
from messaging.policy import seconds
from messaging.queries.faults import injected_faults


class Command(BusCommand):
    help = "Injects faults on purpose (failures, redeliveries, delays, crashes, lost wake-ups), ends and lists them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="on|off|status")
        on = acts.add_parser("on", help="let things go wrong for a while")
        on.add_argument("--consumer", default=EVERY_CONSUMER, help="its name; without it, every consumer")
        on.add_argument("--failure-rate", type=float, default=0.0, help="share of runs that fail, 0 to 1")
        on.add_argument("--redelivery-rate", type=float, default=0.0, help="share that is handled and comes again")
        on.add_argument("--crash-rate", type=float, default=0.0, help="share in which the worker's process is killed")
        on.add_argument("--wakeup-loss-rate", type=float, default=0.0, help="share of wake-ups that vanish")
        on.add_argument("--wakeup-repeat-rate", type=float, default=0.0, help="share of wake-ups sent twice")
        on.add_argument("--delay", default="0s", help='how long each delivery waits: "250ms", "2s"')
        on.add_argument("--for", dest="lasts", default="10m", help='until it ends by itself: "10m", at most "24h"')
        on.add_argument("--reason", default="Fault injection from the command line")
        off = acts.add_parser("off", help="end it")
        off.add_argument("--consumer", help="only for this one (* is the row for every consumer)")
        status = acts.add_parser("status", help="say what goes wrong now")
        status.add_argument("--json", action="store_true")

    def handle(self, *, act: str, **options: Any) -> None:
        try:
            getattr(self, f"_{act}")(options)
        except (OperationRefused, ConfigurationError) as error:
            raise CommandError(str(error)) from error

    def _on(self, options: dict[str, Any]) -> None:
        faults = Faults(
            failure_rate=options["failure_rate"],
            redelivery_rate=options["redelivery_rate"],
            crash_rate=options["crash_rate"],
            wakeup_loss_rate=options["wakeup_loss_rate"],
            wakeup_repeat_rate=options["wakeup_repeat_rate"],
            delay_seconds=seconds(options["delay"]),
        )
        inject_faults(
            consumer=options["consumer"], faults=faults, lasts=timedelta(seconds=seconds(options["lasts"])),
            actor=command_line(getpass.getuser()), reason=options["reason"],
        )  # fmt: skip
        self._status({"json": False})

    def _off(self, options: dict[str, Any]) -> None:
        ended = end_faults(consumer=options["consumer"], actor=command_line(getpass.getuser()))
        self.stdout.write(f"{ended} ended." if ended else "Nothing was injected.")

    def _status(self, options: dict[str, Any]) -> None:
        rows = injected_faults()
        if options["json"]:
            self.stdout.write(json.dumps([asdict(row) for row in rows], default=str, indent=1))
            return
        for row in rows:
            self.stdout.write(
                f"{row.consumer}: {row.words}; until {row.until:%H:%M:%S} UTC, by {row.set_by}: {row.reason}"
            )
        if not rows:
            self.stdout.write("No fault is injected.")
