"""How far the audit chain reaches, and what its last verification found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from messaging.models import ChainAnchor, ChainCheck, ChainHead, Seal, UnsealedRecords


@dataclass(frozen=True, kw_only=True)
class Check:
    """One verification. ``problems`` is empty when the chain held."""

    at: datetime
    by: str
    seals: int
    records: int
    unsealed: int
    problems: tuple[str, ...]
    duration_ms: int


@dataclass(frozen=True, kw_only=True)
class Head:
    """The newest seal of one kind of record, and how far it is anchored outside."""

    kind: str
    number: int
    hash: str
    sealed_at: datetime | None
    anchor_number: int | None
    anchor_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class ChainStatus:
    """How far the chains reach, what waits for the next seal, and what was verified last."""

    heads: tuple[Head, ...]
    waiting: int
    """Transactions whose records no seal covers yet."""
    check: Check | None


def chain_status() -> ChainStatus:
    """Read the state of the chains, without reading them."""
    heads = ChainHead.objects.filter(number__gt=0).order_by("kind")
    return ChainStatus(heads=tuple(map(_head, heads)), waiting=waiting(), check=last_check())


def _head(head: ChainHead) -> Head:
    newest = Seal.objects.filter(kind=head.kind, number=head.number)
    exported = ChainAnchor.objects.filter(kind=head.kind, purpose=ChainAnchor.Purpose.EXPORT).order_by("-id").first()
    return Head(
        kind=head.kind, number=head.number, hash=head.hash,
        sealed_at=newest.values_list("sealed_at", flat=True).first(),
        anchor_number=exported.number if exported else None, anchor_at=exported.at if exported else None,
    )  # fmt: skip


def waiting() -> int:
    """Return how many transactions' records no seal covers yet."""
    return UnsealedRecords.objects.count()


def last_check() -> Check | None:
    """Return the newest verification."""
    row = ChainCheck.objects.order_by("-id").first()
    if row is None:
        return None
    return Check(
        at=row.at, by=row.by, seals=row.seals, records=row.records, unsealed=row.unsealed,
        problems=tuple(row.problems), duration_ms=row.duration_ms,
    )  # fmt: skip
