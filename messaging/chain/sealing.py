"""Seal: turn notes of unsealed records into links of the chain. One sealer at a time, off the hot path."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from uuid import UUID

from messaging import failpoints
from messaging.chain.digests import GENESIS, KINDS, content_hash, day_of, digests, pack_entries, seal_hash, unpack
from messaging.database import store
from messaging.models import ChainHead, Seal, UnsealedRecords

NOTES, RECORDS = 2_000, 20_000
"""Most notes and, roughly, most records of one sealing transaction."""


def seal() -> int:
    """Seal a batch of what waits, in one transaction; return how many records that were (0: nothing waits)."""
    if not UnsealedRecords.objects.exists():
        return 0
    for kind in KINDS:
        ChainHead.objects.get_or_create(kind=kind, defaults={"hash": GENESIS})
    with failpoints.atomic("seal"):
        # Two sealers would fork a chain: the second waits here and then finds the first one's notes gone.
        heads = {head.kind: head for head in ChainHead.objects.select_for_update().order_by("kind")}
        notes, batches = _taken()
        for (kind, day), ids in sorted(batches.items()):
            _append(heads[kind], day, sorted(ids))
        failpoints.reach("seal.appended")
        UnsealedRecords.objects.filter(id__in=notes).delete()
        for head in heads.values():
            head.save()
    return sum(len(ids) for ids in batches.values())


def seal_everything() -> int:
    """Seal until nothing waits; return how many records that were."""
    total = 0
    while sealed := seal():
        total += sealed
    return total


def _taken() -> tuple[list[int], dict[tuple[str, date], list[UUID]]]:
    """Return the notes of this batch and their records by kind and day, so that a seal leaves with its partition."""
    notes: list[int] = []
    batches: dict[tuple[str, date], list[UUID]] = defaultdict(list)
    records = 0
    for number, kind, packed in UnsealedRecords.objects.order_by("id").values_list("id", "kind", "ids")[:NOTES]:
        notes.append(number)
        for identifier in unpack(packed):
            batches[kind, day_of(identifier)].append(identifier)
            records += 1
        if records >= RECORDS:
            break
    return notes, batches


def _append(head: ChainHead, day: date, ids: list[UUID]) -> None:
    kind = head.kind
    found = digests(kind, ids)
    entries, content = pack_entries(found, ids), content_hash(found, ids)
    head.number += 1
    previous, head.hash = (
        head.hash,
        seal_hash(number=head.number, kind=kind, day=day, entries=entries, content=content, previous=head.hash),
    )
    Seal.objects.create(
        number=head.number, kind=kind, day=day, count=len(ids), entries=entries, content_hash=content,
        previous_hash=previous, hash=head.hash, sealed_at=store().now(),
    )  # fmt: skip
