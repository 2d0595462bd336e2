"""Drive the order flow at any rate, in this process or over HTTP as real clients would."""

from __future__ import annotations

import json
import secrets
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import CommandError
from tqdm import tqdm

from examples.ecommerce.load import Client, DirectClient, HttpClient, Load, LoadReport
from examples.ecommerce.traffic import OrderMaker
from messaging.management.base import BusCommand


class Command(BusCommand):
    help = "Places orders at a steady rate; the same --seed makes the same orders, so that a run can be repeated."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--rate", type=float, default=50, help="orders a second over all clients; 0: no limit")
        parser.add_argument("--seconds", type=float, help="how long (default: 60, or until --orders are placed)")
        parser.add_argument("--orders", type=int, default=0, help="stop after so many")
        parser.add_argument("--via", default="", metavar="URL", help="post over HTTP, such as http://127.0.0.1:8000")
        parser.add_argument("--clients", type=int, default=4, help="how many post at once")
        parser.add_argument("--failures", type=float, default=0.1, help="share of orders that fail, 0 to 1")
        parser.add_argument("--orchestrated", type=float, default=0, help="share of orders that a saga directs, 0 to 1")
        parser.add_argument("--seed", type=int, default=None, help="default: random")
        parser.add_argument("--patience", type=float, default=60, help="seconds to go on trying when nobody answers")
        parser.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        if options["seconds"] is None:
            options["seconds"] = 0 if options["orders"] else 60
        _check(options)
        load = Load(
            maker=OrderMaker(_seed(options["seed"]), options["failures"], options["orchestrated"]),
            connect=lambda: _client(options),
            rate=options["rate"],
            seconds=options["seconds"],
            orders=options["orders"],
            clients=options["clients"],
        )
        expected = options["orders"] or (int(options["rate"] * options["seconds"]) or None)
        with tqdm(total=expected, unit="order", disable=None, file=sys.stderr) as progress:
            report = load.run(lambda done: progress.update(done - progress.n))
        self._print(report, as_json=options["json"])
        if report.failed:
            sys.exit(1)

    def _print(self, report: LoadReport, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(asdict(report), indent=2))
            return
        self.stdout.write(
            f"{report.posted:,} orders in {report.seconds:.1f} s ({report.per_second:.1f} a second), "
            f"seed {report.seed}: "
            f"{report.accepted:,} accepted, {report.existing:,} existed, {report.failed:,} failed; "
            f"p50 {report.p50_ms:.1f} ms, p95 {report.p95_ms:.1f} ms; {report.reconnects:,} tries repeated."
        )
        for error in report.errors:
            self.stdout.write(self.style.ERROR(f"  {error}"))


def _check(options: dict[str, Any]) -> None:
    if options["rate"] < 0 or options["seconds"] < 0 or options["orders"] < 0:
        raise CommandError("--rate, --seconds and --orders must not be negative.")
    if not options["seconds"] and not options["orders"]:
        raise CommandError("--seconds 0 needs --orders: one of them must end the run.")
    for share in ("failures", "orchestrated"):
        if not 0 <= options[share] <= 1:
            raise CommandError(f"--{share} is a share; give a number from 0 to 1.")
    if not 1 <= options["clients"] <= 200:
        raise CommandError("--clients must be from 1 to 200.")
    url = urlsplit(options["via"])
    if options["via"] and (url.scheme not in ("http", "https") or not url.hostname):
        raise CommandError(f"--via {options['via']!r} is not an address; write http://127.0.0.1:8000.")


def _seed(given: int | None) -> int:
    return secrets.randbits(32) if given is None else given


def _client(options: dict[str, Any]) -> Client:
    return HttpClient(options["via"], patience=options["patience"]) if options["via"] else DirectClient()
