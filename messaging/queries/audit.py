from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from messaging.queries.pages import Page


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    id: UUID
    at: datetime
    actor: str
    actor_kind: str
    address: str
    action: str
    outcome: str
    target: str
    reason: str
    request_id: str
    details: dict[str, Any]


def list_audit(
    *, target: str = "", actor: str = "", action: str = "", limit: int = 50, after: UUID | None = None, before: UUID | None = None
) -> Page[AuditRow]:
    raise NotImplementedError
