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
class ChainStatus:
    """The newest seal, what waits for the next one, and what was verified and exported last."""

    number: int
    """Of the newest seal; 0 before the first."""
    hash: str
    sealed_at: datetime | None
    waiting: int
    """Transactions whose records no seal covers yet."""
    check: Check | None
    anchor_number: int | None
    anchor_at: datetime | None


def chain_status() -> ChainStatus:
    """Read the state of the chain, without reading the chain."""
    head = ChainHead.objects.filter(id=1).first()
    sealed_at = Seal.objects.filter(number=head.number).values_list("sealed_at", flat=True).first() if head else None
    anchor = ChainAnchor.objects.filter(purpose=ChainAnchor.Purpose.EXPORT).order_by("-id").first()
    return ChainStatus(
        number=head.number if head else 0,
        hash=head.hash if head else "",
        sealed_at=sealed_at,
        waiting=waiting(),
        check=last_check(),
        anchor_number=anchor.number if anchor else None,
        anchor_at=anchor.at if anchor else None,
    )


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
