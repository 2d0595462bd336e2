"""Anchors: the hash of a seal, noted where whoever can write to this database cannot."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from messaging import failpoints
from messaging.chain.digests import GENESIS
from messaging.database import store
from messaging.database.connections import retention
from messaging.errors import ConfigurationError
from messaging.models import ChainAnchor, ChainHead, Seal
from messaging.settings import options

log = logging.getLogger("messaging.chain")


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """Seal ``number`` of the chain of this kind had this hash."""

    kind: str
    number: int
    hash: str
    at: str

    def as_line(self) -> str:
        return json.dumps({"kind": self.kind, "number": self.number, "hash": self.hash, "at": self.at})


def export_anchors() -> list[Anchor]:
    """Note the newest seals: in the log, in ``MESSAGING["anchor_file"]`` when set, and in the table of anchors.

    Returns those of the chains that grew since the last export.

    Raises:
        OSError: the file cannot be written; nothing is noted then.
    """
    now = store().now()
    known = {anchor.kind: anchor.number for anchor in newest_anchors()}
    grown = ChainHead.objects.filter(number__gt=0).order_by("kind")
    anchors = [
        Anchor(kind=head.kind, number=head.number, hash=head.hash, at=now.isoformat())
        for head in grown
        if known.get(head.kind) != head.number
    ]
    if options().anchor_file and anchors:
        path = Path(options().anchor_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(anchor.as_line() + "\n" for anchor in anchors)
    for anchor in anchors:
        log.info("Anchor of the audit chain: %s", anchor.as_line())
        ChainAnchor.objects.create(
            kind=anchor.kind, number=anchor.number, hash=anchor.hash, purpose=ChainAnchor.Purpose.EXPORT, at=now
        )
    return anchors


def newest_anchors() -> list[Anchor]:
    """Return the anchor of each chain that was exported last."""
    exported = ChainAnchor.objects.filter(purpose=ChainAnchor.Purpose.EXPORT)
    newest: dict[str, ChainAnchor] = {row.kind: row for row in exported.order_by("id")}
    return [
        Anchor(kind=row.kind, number=row.number, hash=row.hash, at=row.at.isoformat())
        for _, row in sorted(newest.items())
    ]


def read_anchors(path: Path) -> list[Anchor]:
    """Return the anchors of an exported file, one JSON object a line.

    Raises:
        ConfigurationError: the file cannot be read or a line is no anchor.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigurationError(f"The anchors in {path} cannot be read: {error.strerror}.") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            found.append(
                Anchor(
                    kind=str(given["kind"]),
                    number=int(given["number"]),
                    hash=str(given["hash"]),
                    at=str(given.get("at", "")),
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path}, line {number}, is no anchor: {line[:80]!r}.") from error
    return found


def forget_pruned(kind: str, keep_from: date) -> int:
    """Note that records of days before ``keep_from`` were pruned, and remove the seals that only they needed.

    Only a whole beginning of the chain goes, its last seal is kept as an anchor: what is left still links to it.
    Returns how many seals went.
    """
    with failpoints.atomic("forget_pruned"):
        chain = Seal.objects.filter(kind=kind)
        pruned = chain.filter(day__lt=keep_from)
        if not pruned.exists():
            return 0
        first_kept = chain.filter(day__gte=keep_from).order_by("number").values_list("number", flat=True).first()
        gone = pruned if first_kept is None else pruned.filter(number__lt=first_kept)
        number, known = gone.order_by("-number").values_list("number", "hash").first() or _start(kind)
        ChainAnchor.objects.create(
            kind=kind, number=number, hash=known, purpose=ChainAnchor.Purpose.RETENTION, pruned_before=keep_from,
            at=store().now(),
        )  # fmt: skip
        with retention():
            return int(gone.delete()[0])


def _start(kind: str) -> tuple[int, str]:
    """Return the number and the hash of the seal before the first one that is kept."""
    last = ChainAnchor.objects.filter(kind=kind, purpose=ChainAnchor.Purpose.RETENTION).order_by("-id").first()
    return (last.number, last.hash) if last else (0, GENESIS)
