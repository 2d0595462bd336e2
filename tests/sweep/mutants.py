"""The bus with one safeguard taken out. A sweep that does not notice proves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid5

from messaging import rescue
from messaging.consumers import Consumer
from messaging.database import postgresql_sql as sql
from messaging.delivery import loop
from messaging.ids import new_id

VARIABLE = "SWEEP_MUTANT"


def without_fence() -> None:
    """Every claim of a consumer bears the same token, so that a stale owner passes for the new one."""
    deliver_once = loop.deliver_once
    patched: Any = loop

    def unfenced(consumer: Consumer, turn: int = 0) -> int:
        patched.new_id = lambda: claim_token(consumer.name)
        return deliver_once(consumer, turn)

    patched.deliver_once = unfenced


def claim_token(consumer: str) -> UUID:
    """Return the token of a new claim, as this process makes them."""
    return uuid5(UUID(int=0), consumer) if os.environ.get(VARIABLE) == "fence" else new_id()


def without_outbox_delete() -> None:
    """The relay makes deliveries and leaves the outbox as it was."""
    sql.RELAY = _replaced(sql.RELAY, "DELETE FROM messaging_outboxentry\n    WHERE", _SELECT)
    sql.RELAY = _replaced(sql.RELAY, "\n    RETURNING message_id, type, key, position, created_at, consumer, run, resolves\n), routed", "\n), routed")  # noqa: E501  # fmt: skip


def without_rescue() -> None:
    """Nobody takes back what the dead had claimed."""
    nothing: Callable[[], int] = lambda: 0  # noqa: E731
    patched: Any = rescue
    patched._rescue_batch = nothing


_SELECT = (
    "SELECT message_id, type, key, position, created_at, consumer, run, resolves FROM messaging_outboxentry\n    WHERE"
)
MUTANTS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "fence": (without_fence, ("I6",)),
    "outbox delete": (without_outbox_delete, ("I2", "I10")),
    "rescue": (without_rescue, ("I10",)),
}
"""What each takes out, and the invariants of which one at least must be seen to break."""


def apply() -> None:
    """Take out of this process what its environment names."""
    if name := os.environ.get(VARIABLE):
        MUTANTS[name][0]()


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the statement changed: {old!r} is not in it any more"
    return text.replace(old, new)
