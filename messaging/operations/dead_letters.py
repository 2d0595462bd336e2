from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from messaging.operations.actors import Actor


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


def replay_dead_letters(
    *, ids: Sequence[UUID], actor: Actor, reason: str, request_id: str | None = None
) -> BulkResult:
    """Run each dead letter's message again, unchanged, for the consumer that failed, as a new run."""
    raise NotImplementedError


def discard_dead_letters(
    *, ids: Sequence[UUID], actor: Actor, reason: str, request_id: str | None = None
) -> BulkResult:
    """Give dead letters up on purpose, with a reason (required)."""
    raise NotImplementedError
