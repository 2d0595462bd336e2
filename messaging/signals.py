"""What the bus tells listeners in its own process, after a commit. Hints only: a listener re-reads what it shows."""

from __future__ import annotations

from django.dispatch import Signal

TOPICS = (
    *("messages", "dead_letters", "consumers", "quarantine", "audit"),
    *("traces", "scheduled", "operations", "sagas"),
)
"""What can change."""

changed = Signal()
"""Sent with ``topics``, a frozenset of some of TOPICS."""
