"""The audit chain at a shell: seal what waits, verify everything, export an anchor."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from messaging import chain
from messaging.errors import ConfigurationError
from messaging.management.base import BusCommand


class Command(BusCommand):
    help = "Seals attempts, audit records and moves of sagas into a hash chain, verifies it, exports its anchor."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        actions.add_parser("seal", help="seal what no seal covers yet (the scheduler does it every few seconds)")
        verify = actions.add_parser("verify", help="read the whole chain and its records; exit code 1 if it is broken")
        verify.add_argument("--json", dest="as_json", action="store_true", help="print one JSON document")
        verify.add_argument("--anchors", metavar="FILE", help="compare with anchors exported earlier, a JSON line each")
        actions.add_parser("anchor", help="print the newest seals as anchors, and note them")

    def handle(self, *, action: str, **given: Any) -> None:
        getattr(self, f"_{action}")(**given)

    def _seal(self, **_: Any) -> None:
        self.stdout.write(f"Sealed {chain.seal_everything():,} records.")

    def _anchor(self, **_: Any) -> None:
        try:
            chain.export_anchors()
        except OSError as error:
            raise CommandError(f"The anchor was not exported: {error}.") from error
        newest = chain.newest_anchors()
        if not newest:
            raise CommandError("Nothing was sealed yet, so there is nothing to anchor.")
        for anchor in newest:
            self.stdout.write(anchor.as_line())

    def _verify(self, *, anchors: str | None, as_json: bool, **_: Any) -> None:
        try:
            known = chain.read_anchors(Path(anchors)) if anchors else []
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        report = chain.check_chain(by="command line", anchors=known)
        self.stdout.write(_document(report) if as_json else _words(report))
        if not report.is_sound:
            sys.exit(1)


def _document(report: chain.ChainReport) -> str:
    document = {**asdict(report), "as_of": report.as_of.isoformat(), "is_sound": report.is_sound}
    return json.dumps(document, indent=2)


def _words(report: chain.ChainReport) -> str:
    counts = f"{report.seals:,} seals over {report.records:,} records; {report.unsealed:,} not sealed yet."
    if report.is_sound:
        return f"The chain holds: {counts}"
    return "\n".join([*report.problems, f"The chain is BROKEN: {counts}"])
