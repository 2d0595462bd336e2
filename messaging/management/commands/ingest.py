"""Feed recorded messages through the same door as REST, line by line."""

from __future__ import annotations

import codecs
import gzip
import json
import sys
import zlib
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from django.core.management.base import CommandError
from django.db import DatabaseError
from tqdm import tqdm

from messaging import failpoints
from messaging.errors import Backlogged, StorageUnavailable
from messaging.ingest import Received, ingest
from messaging.management.base import BusCommand
from messaging.settings import options as bus_options

CONTENT_TYPES = {"jsonl": "application/json", "cloudevents": "application/cloudevents+json"}
OUTCOMES = ("accepted", "duplicate", "conflict", "parked", "quarantined")
UNREADABLE, BACKLOGGED = 2, 3
_BATCH = 100
_LISTED = 20


@dataclass
class Tally:
    """What became of the lines so far."""

    counts: Counter[str] = field(default_factory=Counter)
    last_line: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)
    """The first lines that were not accepted, and why."""

    def add(self, line: int, received: Received) -> None:
        self.counts[received.outcome] += 1
        self.last_line = line
        if received.outcome not in ("accepted", "duplicate") and len(self.problems) < _LISTED:
            self.problems.append({"line": line, "outcome": received.outcome, "reason": str(received.problem or "")})

    def document(self) -> dict[str, Any]:
        counts = {outcome: self.counts[outcome] for outcome in OUTCOMES}
        return {"lines": self.counts.total(), **counts, "last_line": self.last_line, "problems": self.problems}


@dataclass(frozen=True)
class Input:
    """``lines`` to read from; ``position`` is the file whose position and ``size`` show the progress."""

    lines: IO[bytes]
    position: IO[bytes] | None
    size: int | None


class Command(BusCommand):
    help = (
        "Publishes the messages of a file, one JSON object a line. What cannot be decoded is quarantined, an unknown"
        " type is parked. Run it again after an interruption: messages with an id are taken once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="JSON Lines (also .gz), or - for standard input")
        parser.add_argument("--format", choices=sorted(CONTENT_TYPES), default="jsonl")
        parser.add_argument("--source", default="ingest", help="names where the messages come from (default: ingest)")
        parser.add_argument("--from-line", type=int, default=1, help="leave out the lines before (default: 1)")
        parser.add_argument("--json", action="store_true", help="print the report as JSON")

    def handle(self, **options: Any) -> None:
        tally = Tally()
        try:
            with _opened(options["file"]) as opened:
                self._read(opened, tally, options)
        except (OSError, EOFError, zlib.error) as error:
            if tally.last_line:
                self._report(tally, as_json=options["json"])
            raise CommandError(f"Cannot read {options['file']}: {error}.", returncode=UNREADABLE) from error
        except Backlogged as refused:
            self._report(tally, as_json=options["json"])
            raise CommandError(
                f"Stopped after line {tally.last_line}: {refused} Go on with --from-line {tally.last_line + 1}.",
                returncode=BACKLOGGED,
            ) from refused
        except (DatabaseError, StorageUnavailable) as error:
            self._report(tally, as_json=options["json"])
            raise CommandError(f"The database failed after line {tally.last_line}: {error}; run it again.") from error
        self._report(tally, as_json=options["json"])

    def _read(self, opened: Input, tally: Tally, options: dict[str, Any]) -> None:
        form, source, first = options["format"], options["source"], options["from_line"]
        every = numbered_lines(opened.lines, limit=bus_options().max_body_bytes)
        lines = (line for line in every if line[0] >= first)
        tally.last_line = first - 1
        with tqdm(total=opened.size, unit="B", unit_scale=True, disable=None, file=sys.stderr) as progress:
            while batch := list(islice(lines, _BATCH)):
                with failpoints.atomic("ingest.batch"):
                    received = [(number, _ingest(raw, number, form, source)) for number, raw in batch]
                for number, each in received:  # only what is committed counts
                    tally.add(number, each)
                if opened.position:
                    progress.update(opened.position.tell() - progress.n)
                progress.set_postfix(lines=tally.counts.total(), refresh=False)

    def _report(self, tally: Tally, *, as_json: bool) -> None:
        document = tally.document()
        if as_json:
            self.stdout.write(json.dumps(document, indent=2))
            return
        counts = ", ".join(f"{tally.counts[outcome]:,} {outcome}" for outcome in OUTCOMES)
        self.stdout.write(f"{document['lines']:,} lines: {counts}.")
        for problem in tally.problems:
            self.stdout.write(f"  line {problem['line']}: {problem['outcome']}: {problem['reason']}")
        more = sum(tally.counts[outcome] for outcome in OUTCOMES[2:]) - len(tally.problems)
        if more > 0:
            self.stdout.write(f"  and {more:,} more; see the quarantine in the console.")


def _ingest(raw: bytes, number: int, form: str, source: str) -> Received:
    headers = {"ingest-line": str(number)}
    return ingest(raw, content_type=CONTENT_TYPES[form], source=source, headers=headers, strict=False)


def numbered_lines(stream: IO[bytes], *, limit: int) -> Iterator[tuple[int, bytes]]:
    """Yield every line that is not blank with its number; of a longer line than ``limit`` only its beginning.

    One byte too many is left on it, so that the ingress sees that it is too long.
    """
    number = 0
    while raw := stream.readline(limit + 1):
        number += 1
        is_cut = not raw.endswith(b"\n")
        while is_cut and (rest := stream.readline(65_536)):
            is_cut = not rest.endswith(b"\n")
        line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
        if line.strip():
            yield number, line.rstrip(b"\r\n")


@contextmanager
def _opened(name: str) -> Iterator[Input]:
    if name == "-":
        yield Input(sys.stdin.buffer, None, None)
        return
    path = Path(name)
    with path.open("rb") as file:
        size = path.stat().st_size
        if path.suffix == ".gz":
            with gzip.open(file) as unpacked:
                yield Input(unpacked, file, size)  # type: ignore[arg-type]
        else:
            yield Input(file, file, size)
