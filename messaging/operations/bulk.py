"""Results of operations on several rows, and the check of the rows asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from messaging.errors import OperationRefused

BULK_LIMIT = 500
"""Most rows of one call."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One row that was left as it is, and why, in words for an operator ("already resolved by ana")."""

    id: UUID
    why: str


@dataclass(frozen=True, kw_only=True)
class BulkResult:
    """What a bulk operation did: the rows it changed and the rows it refused. They add up to the rows asked for."""

    done: tuple[UUID, ...]
    refused: tuple[Refusal, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "done": [str(id) for id in self.done],
            "refused": [{"id": str(refusal.id), "why": refusal.why} for refusal in self.refused],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> BulkResult:
        return cls(
            done=tuple(UUID(id) for id in value["done"]),
            refused=tuple(Refusal(id=UUID(each["id"]), why=each["why"]) for each in value["refused"]),
        )


def checked_ids(ids: Sequence[UUID]) -> list[UUID]:
    """Return the ids once each, in order.

    Raises:
        OperationRefused: none, or more than BULK_LIMIT; ``field`` is "ids".
    """
    unique = list(dict.fromkeys(ids))
    if not unique:
        raise OperationRefused("Nothing was selected.", code="invalid", field="ids")
    if len(unique) > BULK_LIMIT:
        raise OperationRefused(
            f"{len(unique)} rows are too many for one call; at most {BULK_LIMIT}.", code="invalid", field="ids"
        )
    return unique


def label(ids: Iterable[UUID], kind: str) -> str:
    """Name the target of a bulk operation for the audit."""
    listed = list(ids)
    return f"{kind}:{listed[0]}" if len(listed) == 1 else f"{kind}:{len(listed)} rows"
