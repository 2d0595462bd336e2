"""The bus with one safeguard taken out. A sweep that does not notice proves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid5

from messaging import audit, rescue
from messaging.consumers import Consumer
from messaging.database import postgresql_sql as sql
from messaging.delivery import gate, loop, settling
from messaging.ids import new_id
from messaging.operations import requests
from messaging.sagas import undoing

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


def without_confirm() -> None:
    """A wake-up that was sent counts as one that arrived: nobody looks for deliveries for which no worker came.

    This stands where other systems have the publisher's confirm. What was never tried is woken for when it is relayed,
    and not again; retries and what was rescued are looked for as ever.
    """
    waits = "d.claim_token IS NULL AND d.position IS"
    tried = waits.replace("d.claim", "(d.failures > 0 OR d.crashes > 0 OR d.is_alone) AND d.claim")
    assert waits in sql.CLAIMABLE, "the statement changed"
    sql.CLAIMABLE = sql.CLAIMABLE.replace(waits, tried)


def without_follow_ups() -> None:
    """Outcomes are settled without what their handlers published."""
    patched: Any = settling
    patched.put = lambda envelopes: None


def without_compensation() -> None:
    """A saga that fails ends at once, with its completed steps as they are."""
    patched: Any = undoing
    patched._next = lambda turn: None


def without_failure_count() -> None:
    """A handler may fail as often as it likes: no failure counts against its message."""
    try_again, patched = settling._try_again, cast(Any, settling)
    patched._try_again = lambda token, execution, failure, decision: try_again(
        token, execution, failure, replace(decision, is_failure=False)
    )


def without_counts() -> None:
    """What is handled is not counted."""
    patched: Any = settling
    patched.deltas_of = lambda counted: []


def without_audit() -> None:
    """What operators do leaves no record."""
    patched: Any = audit
    patched.record = lambda *given, **facts: None


def without_request_id() -> None:
    """Nobody remembers which requests of operators were carried out."""
    patched: Any = requests
    patched.once = lambda *, act, **_: SimpleNamespace(value=act())


_COLUMNS = "message_id, type, key, position, created_at, consumer, run, resolves"
MUTANTS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "fence": (without_fence, ("I6",)),
    "outbox delete": (without_outbox_delete, ("I2", "I10")),
    "rescue": (without_rescue, ("I10",)),
    "confirm": (without_confirm, ("I10",)),
    "follow-ups": (without_follow_ups, ("I3",)),
    "compensation": (without_compensation, ("I5",)),
    "failure count": (without_failure_count, ("I7",)),
    "counts": (without_counts, ("I11",)),
    "audit": (without_audit, ("I8",)),
    "request id": (without_request_id, ("I2", "I9")),  # I2: a publish with a key is of these requests, too
}
"""What each takes out, and the invariants of which one at least must be seen to break."""


def apply() -> None:
    """Take out of this process what its environment names."""
    if name := os.environ.get(VARIABLE):
        MUTANTS[name][0]()


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the statement changed: {old!r} is not in it any more"
    return text.replace(old, new)
