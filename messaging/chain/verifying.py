"""Verify: read the chain and its records again, and name what does not fit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice
from uuid import UUID

from messaging import clock
from messaging.chain.anchors import Anchor
from messaging.chain.digests import (
    GENESIS,
    KINDS,
    content_hash,
    day_of,
    digests,
    seal_hash,
    table_of,
    unpack,
    unpack_entries,
)
from messaging.database import store
from messaging.database.snapshots import snapshot
from messaging.ids import id_at
from messaging.models import ChainAnchor, ChainCheck, ChainHead, Seal, UnsealedRecords

_EPOCH = date(1970, 1, 1)
SHOWN = 20
"""Most problems listed."""


@dataclass(frozen=True, kw_only=True)
class ChainReport:
    """What a verification read and what it found, in words."""

    as_of: datetime
    seals: int
    records: int
    unsealed: int
    problems: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        return not self.problems


def verify_chain(*, anchors: Sequence[Anchor] = ()) -> ChainReport:
    """Read every seal and every record it covers in one snapshot; ``anchors`` were exported earlier."""
    with snapshot():
        readings = [_Reading(kind, anchors) for kind in KINDS]
        found = chain.from_iterable(reading.problems() for reading in readings)
        problems = tuple(islice(found, SHOWN))
        return ChainReport(
            as_of=clock.now(),
            seals=sum(reading.seals for reading in readings),
            records=sum(reading.records for reading in readings),
            unsealed=sum(len(reading.waiting) for reading in readings),
            problems=problems,
        )


def check_chain(*, by: str, anchors: Sequence[Anchor] = ()) -> ChainReport:
    """Verify the chain and keep the result for the audit page."""
    began = time.monotonic()
    report = verify_chain(anchors=anchors)
    ChainCheck.objects.create(
        at=store().now(), by=by[:200], seals=report.seals, records=report.records, unsealed=report.unsealed,
        problems=list(report.problems), duration_ms=int((time.monotonic() - began) * 1000),
    )  # fmt: skip
    return report


class _Reading:
    """One pass over the chain of one kind. The counts grow while the problems are read."""

    def __init__(self, kind: str, anchors: Sequence[Anchor]) -> None:
        self.kind = kind
        self.seals = self.records = 0
        notes = UnsealedRecords.objects.filter(kind=kind).values_list("ids", flat=True)
        self.waiting = {identifier for packed in notes for identifier in unpack(packed)}
        anchored = ChainAnchor.objects.filter(kind=kind)
        self._anchors = {(anchor.number, anchor.hash) for anchor in anchors if anchor.kind == kind}
        self._anchors |= set(anchored.values_list("number", "hash"))
        pruned = anchored.filter(purpose=ChainAnchor.Purpose.RETENTION).order_by("-id").first()
        self._start, self._hash = (pruned.number, pruned.hash) if pruned else (0, GENESIS)
        self._kept_from = (pruned.pruned_before if pruned else None) or _EPOCH
        self._sealed = Counter[date]()

    def problems(self) -> Iterator[str]:
        yield from self._links()
        yield from self._tail()
        # Every record is in a seal or noted as unsealed; what is in neither was slipped in.
        for day in _days_of(self.kind, self._kept_from):
            yield from self._slipped_into(day)

    def _links(self) -> Iterator[str]:
        expected, previous = self._start + 1, self._hash
        noted: dict[int, set[str]] = {}
        for number, known in self._anchors:
            noted.setdefault(number, set()).add(known)
        seals = Seal.objects.filter(kind=self.kind, number__gt=self._start).order_by("number")
        for seal in seals.iterator(200):
            self.seals += 1
            if seal.number != expected:
                yield f"seals {expected} to {seal.number - 1} of {self.kind}s are missing"
            elif seal.previous_hash != previous:
                yield f"{self.kind} seal {seal.number} does not follow the seal before it"
            if _hash_of(seal) != seal.hash:
                yield f"{self.kind} seal {seal.number} was changed"
            if noted.get(seal.number, {seal.hash}) != {seal.hash}:
                yield f"{self.kind} seal {seal.number} is not the one that was anchored"
            yield from self._records_of(seal)
            expected, previous = seal.number + 1, seal.hash
        self._last = (expected - 1, previous)

    def _records_of(self, seal: Seal) -> Iterator[str]:
        if seal.day < self._kept_from:
            return  # retention took the day; the seal stays as a link
        entries = dict(unpack_entries(seal.entries))
        self._sealed[seal.day] += len(entries)
        ids = sorted(entries)
        found = digests(self.kind, ids)
        self.records += len(found)
        changed = [identifier for identifier in ids if found.get(identifier, b"")[:8] != entries[identifier]]
        for identifier in changed:
            what = "changed" if identifier in found else "removed"
            yield f"{self.kind} {identifier} was {what} (seal {seal.number})"
        if not changed and content_hash(found, ids) != seal.content_hash:  # eight bytes were forged to fit
            yield f"a record of {self.kind} seal {seal.number} was changed"

    def _tail(self) -> Iterator[str]:
        head = ChainHead.objects.filter(kind=self.kind).first()
        number, known = (head.number, head.hash) if head else (0, GENESIS)
        last = self._last[0]
        if (number, known) != self._last:
            yield f"the {self.kind} seals end at {last}, but their head says {number}: they were cut off or replaced"
        latest = max((number for number, _ in self._anchors), default=0)
        if latest > last:
            yield f"{self.kind} seal {latest} was anchored, but they end at {last}: they were cut off"

    def _slipped_into(self, day: date) -> Iterator[str]:
        low, high = _bounds(day)
        records = table_of(self.kind)._default_manager.filter(id__gte=low, id__lt=high)
        if records.count() == self._sealed[day] + sum(1 for each in self.waiting if low <= each < high):
            return
        known = set(self.waiting)
        for packed in Seal.objects.filter(kind=self.kind, day=day).values_list("entries", flat=True):
            known.update(identifier for identifier, _ in unpack_entries(packed))
        for identifier in records.values_list("id", flat=True).iterator(5_000):
            if identifier not in known:
                yield f"{self.kind} {identifier} was slipped in: no seal knows it"


def _hash_of(seal: Seal) -> str:
    return seal_hash(
        number=seal.number, kind=seal.kind, day=seal.day, entries=bytes(seal.entries), content=seal.content_hash,
        previous=seal.previous_hash,
    )  # fmt: skip


def _bounds(day: date) -> tuple[UUID, UUID]:
    start = datetime.combine(day, datetime.min.time(), tzinfo=UTC)
    return id_at(start), id_at(start + timedelta(days=1))


def _days_of(kind: str, start: date) -> Iterator[date]:
    """Return the days from ``start`` on that have records, however far apart."""
    model, low = table_of(kind)._default_manager, _bounds(start)[0]
    while (first := model.filter(id__gte=low).order_by("id").values_list("id", flat=True).first()) is not None:
        day = day_of(first)
        yield day
        low = _bounds(day)[1]
