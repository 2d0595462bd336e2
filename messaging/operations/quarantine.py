from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from messaging.operations.actors import Actor
from messaging.operations.dead_letters import BulkResult


def retry_quarantined(
    *, ids: Sequence[UUID], actor: Actor, reason: str = "", request_id: str | None = None
) -> BulkResult:
    """Send quarantined or parked messages through the ingress again; those accepted are published."""
    raise NotImplementedError


def discard_quarantined(
    *, ids: Sequence[UUID], actor: Actor, reason: str, request_id: str | None = None
) -> BulkResult:
    """Give quarantined messages up on purpose, with a reason (required)."""
    raise NotImplementedError
