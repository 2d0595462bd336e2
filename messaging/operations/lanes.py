"""Release a key that waits behind a dead letter."""

from __future__ import annotations

from django.db import transaction

from messaging import audit, signals
from messaging.actors import Actor
from messaging.errors import OperationRefused
from messaging.failure import storable
from messaging.models import ConsumerState, DeadLetter
from messaging.operations.guard import carry_out, checked_reason

NOTED = 20
"""Most dead letters named in one audit record."""


def release_key(*, name: str, key: str, actor: Actor, reason: str, request_id: str | None = None) -> int:
    """Let the messages of a key go on past its dead letters, which stay open; return how many held it.

    Needs a reason: a dead letter that is replayed later comes behind the messages that went on.
    """

    def act() -> int:
        why = checked_reason(reason)
        if not ConsumerState.objects.filter(name=storable(name)).exists():
            raise OperationRefused(f"There is no consumer {name!r}.", code="not_found", field="name")
        held = DeadLetter.objects.select_for_update().filter(consumer=name, key=storable(key), blocks=True)
        ids = list(held.exclude(state__in=["resolved", "discarded"]).order_by("id").values_list("id", flat=True))
        released = DeadLetter.objects.filter(id__in=ids, blocks=True).update(blocks=False)
        if not released:
            raise OperationRefused(f"The key {key!r} is not blocked at {name}.", code="conflict", field="key")
        audit.record(
            actor, "consumer.release_key", f"consumer:{name}", reason=why, request_id=request_id, key=key,
            dead_letters=[str(id) for id in ids[:NOTED]], released=released,
        )  # fmt: skip
        transaction.on_commit(_changed, robust=True)
        return released

    answer = carry_out(
        act, actor=actor, action="consumer.release_key", target=f"consumer:{name}", question=(name, key, reason),
        request_id=request_id,
    )  # fmt: skip
    return int(answer)


def _changed() -> None:
    signals.changed.send_robust(None, topics=frozenset({"consumers", "dead_letters", "messages", "audit"}))
