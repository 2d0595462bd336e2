from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from messaging.models import AuditRecord
from messaging.queries.pages import Page, is_storable, keyset_page

RECENT = 5_000
"""How far back the suggestions of actors and actions look."""


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


_COLUMNS = tuple(field.name for field in fields(AuditRow))


def list_audit(
    *,
    target: str = "",
    actor: str = "",
    action: str = "",
    outcome: str = "",
    limit: int = 50,
    after: UUID | None = None,
    before: UUID | None = None,
) -> Page[AuditRow]:
    """Newest first. ``target`` matches whole, or as a kind when it ends in a colon ("consumer:").

    ``outcome`` is done, refused or denied. ``after`` continues to older rows, ``before`` to newer ones.
    """
    exact = {"actor": actor, "action": action, "outcome": outcome}
    if not is_storable(target, actor, action, outcome):
        return Page(rows=(), older=None, newer=None)
    rows = AuditRecord.objects.filter(**{name: value for name, value in exact.items() if value})
    if target:
        rows = rows.filter(**{"target__startswith" if target.endswith(":") else "target": target})
    return keyset_page(rows, _rows, limit=limit, after=after, before=before)


def _rows(records: list[AuditRecord]) -> list[AuditRow]:
    return [AuditRow(**{name: getattr(record, name) for name in _COLUMNS}) for record in records]


@dataclass(frozen=True, kw_only=True)
class AuditChoices:
    """What filters can be set to: names seen in the most recent records."""

    actors: tuple[str, ...]
    actions: tuple[str, ...]


def known_choices() -> AuditChoices:
    """Return the actors and actions of the last records, sorted."""
    recent = AuditRecord.objects.order_by("-id").values_list("actor", "action")[:RECENT]
    seen = set(recent)
    return AuditChoices(
        actors=tuple(sorted({actor for actor, _ in seen})), actions=tuple(sorted({action for _, action in seen}))
    )
