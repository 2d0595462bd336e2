"""Refused and revealing reads: not operations, but the audit has to know of them."""

from __future__ import annotations

from messaging import audit
from messaging.actors import Actor


def record_denied(*, actor: Actor, action: str, target: str) -> None:
    """Write into the audit that ``actor`` asked for something it may not do."""
    audit.record(actor, action, target[:300], outcome=audit.DENIED)


def record_revealed(*, actor: Actor, target: str, reason: str) -> None:
    """Write into the audit that masked fields of ``target`` were shown to ``actor``."""
    audit.record(actor, "reveal", target[:300], reason=reason)


def record_switched(*, actor: Actor, action: str, target: str) -> None:
    """Write into the audit that ``actor`` turned a switch of the console."""
    audit.record(actor, action, target[:300])
