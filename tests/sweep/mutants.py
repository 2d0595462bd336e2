"""The bus with one safeguard taken out. A sweep that does not notice proves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid5

from messaging import rescue
from messaging.consumers import Consumer
from messaging.database import postgresql_sql as sql
from messaging.delivery import gate, loop
from messaging.ids import new_id

VARIABLE = "SWEEP_MUTANT"


def without_fence() -> None:
    """Every claim of a consumer bears the same token, so that a stale owner passes for the new one."""
    claim_and_deliver = loop.claim_and_deliver
    patched: Any = loop

    def unfenced(consumer: Consumer, turn: int = 0) -> gate.Claim:
        patched.new_id = lambda: claim_token(consumer.name)
        return claim_and_deliver(consumer, turn)

    patched.claim_and_deliver = unfenced


def claim_token(consumer: str) -> UUID:
    """Return the token of a new claim, as this process makes them."""
    return uuid5(UUID(int=0), consumer) if os.environ.get(VARIABLE) == "fence" else new_id()


def without_outbox_delete() -> None:
    """The relay makes deliveries and leaves the outbox as it was."""
    for name in ("RELAY", "RELAY_CHOSEN"):  # the second is that with filters
        head = "FROM messaging_outboxentry WHERE id"
        kept = _replaced(getattr(sql, name), f"DELETE {head}", f"SELECT {_COLUMNS} {head}")
        setattr(sql, name, _replaced(kept, f"RETURNING {_COLUMNS}", ""))


def without_rescue() -> None:
    """Nobody takes back what the dead had claimed."""
    nothing: Callable[[], int] = lambda: 0  # noqa: E731
    patched: Any = rescue
    patched._rescue_batch = nothing


_COLUMNS = "message_id, type, key, position, created_at, consumer, run, resolves"
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
