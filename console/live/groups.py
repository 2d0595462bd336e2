"""The names that publisher and sockets agree on."""

from __future__ import annotations

HINTS = "signalbox.hints"
"""Every process with sockets is in this group."""


def of_user(user_id: object) -> str:
    """Name the group of one person's sockets: sign-out closes them all."""
    return f"signalbox.user.{user_id}"
