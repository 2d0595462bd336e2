from __future__ import annotations

from datetime import datetime

from messaging.operations.actors import Actor


def pause_consumer(
    *, name: str, actor: Actor, reason: str, until: datetime | None = None, request_id: str | None = None
) -> None:
    """Stop claiming for a consumer; what is in flight finishes. Needs a reason; ``until`` resumes it by itself."""
    raise NotImplementedError


def resume_consumer(*, name: str, actor: Actor, reason: str = "", request_id: str | None = None) -> None:
    """Claim again for a paused consumer."""
    raise NotImplementedError
