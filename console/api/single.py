"""One row acted upon through an operation that takes many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from console.api.problems import Problem, not_found
from messaging.operations import BulkResult


def done(
    identifier: UUID, result: BulkResult, *, status: str, kind: str, find: Callable[[UUID], object | None]
) -> dict[str, Any]:
    """Answer for the row, or refuse as the operation did: 404 when there is none, else 409 with the reason."""
    if not result.refused:
        return {"id": identifier, "status": status}
    if find(identifier) is None:
        raise not_found(f"{kind} of this id")
    why = result.refused[0].why
    raise Problem(409, "conflict", f"The {kind} was left as it is: {why}.", errors=[("id", why)])
