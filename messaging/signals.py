"""What the bus tells listeners in its own process, after a commit. Hints only: a listener re-reads what it shows."""

from __future__ import annotations

from django.dispatch import Signal

changed = Signal()
"""Sent with ``topics``, a frozenset of "messages", "dead_letters", "consumers", "scheduled",
"quarantine", "audit", "traces", "operations"."""
