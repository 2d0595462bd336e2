"""What the ingress could not publish: parked, quarantined, in conflict."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from django.db.models import Count, QuerySet
from django.db.models.functions import Length

from messaging.models import QuarantinedMessage
from messaging.queries.pages import Page, is_storable, keyset_page


@dataclass(frozen=True, kw_only=True)
class QuarantineRow:
    id: UUID
    kind: str
    source: str
    reason: str
    field: str
    type: str
    version: int | None
    external_id: str
    content_type: str
    size: int
    received_at: datetime
    state: str
    resolved_by: str
    resolved_at: datetime | None
    message_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class QuarantineDetail(QuarantineRow):
    raw: bytes
    headers: dict[str, str]
    body_hash: str


_ROW = tuple(item.name for item in fields(QuarantineRow))


def list_quarantined(
    *, state: str = "open", kind: str = "", limit: int = 50, after: UUID | None = None, before: UUID | None = None
) -> Page[QuarantineRow]:
    """Newest first; an empty ``state`` or ``kind`` means any."""
    rows = _with_size().defer("raw", "headers") if is_storable(state, kind) else QuarantinedMessage.objects.none()
    if state:
        rows = rows.filter(state=state)
    if kind:
        rows = rows.filter(kind=kind)
    return keyset_page(rows, lambda found: [_row(r) for r in found], limit=limit, after=after, before=before)


def count_open() -> dict[str, int]:
    """Return how many are open, by kind; a kind without any is missing."""
    rows = QuarantinedMessage.objects.filter(state=QuarantinedMessage.State.OPEN).values_list("kind")
    return dict(rows.annotate(count=Count("id")).order_by())


def get_quarantined(id: UUID) -> QuarantineDetail | None:
    found = _with_size().filter(id=id).first()
    if found is None:
        return None
    return QuarantineDetail(
        **{name: getattr(found, name) for name in _ROW},
        raw=bytes(found.raw),
        headers=found.headers,
        body_hash=found.body_hash,
    )


def _with_size() -> QuerySet[QuarantinedMessage]:
    return QuarantinedMessage.objects.annotate(size=Length("raw"))


def _row(found: QuarantinedMessage) -> QuarantineRow:
    return QuarantineRow(**{name: getattr(found, name) for name in _ROW})
