"""Build a projection anew from history."""

from __future__ import annotations

from messaging import audit
from messaging.actors import Actor
from messaging.errors import OperationRefused
from messaging.eventstore.building import begin
from messaging.eventstore.projections import find_projection
from messaging.operations.guard import carry_out, checked_reason


def rebuild_projection(*, name: str, actor: Actor, reason: str, request_id: str | None = None) -> int:
    """Begin a new generation of a projection beside the live one, with a reason (required); return its number."""

    def act() -> int:
        why = checked_reason(reason)
        declared = find_projection(name)
        if declared is None:
            raise OperationRefused(f"There is no projection {name!r}.", code="not_found", field="name")
        generation = begin(declared)
        audit.record(
            actor, "projection.rebuild", f"projection:{name}", reason=why, request_id=request_id, generation=generation
        )
        return generation

    generation: int = carry_out(
        act, actor=actor, action="projection.rebuild", target=f"projection:{name}", question=(name, reason),
        request_id=request_id,
    )  # fmt: skip
    return generation
