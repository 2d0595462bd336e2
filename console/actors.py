"""The signed-in person as the guarded operations know them."""

from __future__ import annotations

from console.ui.access import actor as actor_of

__all__ = ["actor_of"]
