from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from messaging.queries.pages import Page


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


def list_quarantined(
    *, state: str = "open", kind: str = "", limit: int = 50, after: UUID | None = None, before: UUID | None = None
) -> Page[QuarantineRow]:
    raise NotImplementedError


def get_quarantined(id: UUID) -> QuarantineDetail | None:
    raise NotImplementedError
