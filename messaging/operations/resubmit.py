from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from messaging.operations.actors import Actor

Audience = Literal["failed", "all"]


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """One violation of the contract: ``path`` ("items[0].unit_price"), a message, and the line of the body (1-based)."""

    path: str
    message: str
    line: int | None


@dataclass(frozen=True, kw_only=True)
class ResubmitCheck:
    """A dry run of a resubmission: nothing is written."""

    errors: tuple[FieldError, ...]
    is_open: bool
    """The original is still an open dead letter."""
    resolved_by: str
    handled_elsewhere: tuple[str, ...]
    """Other consumers that already handled the original."""


@dataclass(frozen=True, kw_only=True)
class ResubmitResult:
    message_id: UUID


def check_resubmission(*, id: UUID, body: str) -> ResubmitCheck:
    """Say whether ``body`` (JSON text) would be accepted as an edited copy of dead letter ``id``."""
    raise NotImplementedError


def resubmit_dead_letter(
    *,
    id: UUID,
    body: str,
    actor: Actor,
    reason: str,
    audience: Audience = "failed",
    headers: Mapping[str, str] | None = None,
    request_id: str | None = None,
) -> ResubmitResult:
    """Publish an edited copy as a new message caused by the original.

    It goes to the consumer that failed, unless ``audience`` is "all". The original is resolved in the
    transaction in which the copy is handled, not before. ``headers`` replaces the free headers when given.
    """
    raise NotImplementedError
