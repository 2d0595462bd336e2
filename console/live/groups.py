"""The names that publisher and sockets agree on."""

from __future__ import annotations

HINTS = "signalbox.hints"
"""Every socket is in this group."""

TOPICS = ("messages", "dead_letters", "consumers", "quarantine", "audit", "traces", "scheduled", "operations")


def of_user(user_id: object) -> str:
    """Name the group of one person's sockets: sign-out closes them all."""
    return f"signalbox.user.{user_id}"
