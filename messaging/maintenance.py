"""What a scheduler does from time to time: pauses that end by themselves, drains that are over."""

from __future__ import annotations

from messaging import audit, failpoints
from messaging.actors import task
from messaging.database import store
from messaging.models import ConsumerState, Delivery, OutboxEntry


def resume_expired_pauses() -> int:
    """Take the mark off consumers whose pause has ended (they are claimed for already), with an audit record."""
    now = store().now()
    names = list(ConsumerState.objects.filter(paused_until__lte=now).values_list("name", flat=True))
    for name in names:
        with failpoints.atomic("resume_expired"):
            ended = ConsumerState.objects.filter(name=name, paused_until__lte=now).update(
                paused_at=None, paused_by="", pause_reason="", paused_until=None
            )
            if ended:
                audit.record(task("scheduler"), "consumer.resume", f"consumer:{name}", reason="The pause expired.")
    return len(names)


def pause_drained() -> int:
    """Pause the consumers whose drain is over: nothing relayed before it began is left. Return how many."""
    done = 0
    for name, drain_at in ConsumerState.objects.filter(drain_at__isnull=False).values_list("name", "drain_at"):
        waiting = Delivery.objects.filter(consumer=name, created_at__lte=drain_at)
        if waiting.exists() or OutboxEntry.objects.filter(created_at__lte=drain_at).exists():
            continue
        with failpoints.atomic("pause_drained"):
            # The time in the condition: a resume, or another drain, may have come in between.
            ended = ConsumerState.objects.filter(name=name, drain_at=drain_at).update(
                paused_at=store().now(), paused_until=None, drain_at=None
            )
            if ended:
                audit.record(task("scheduler"), "consumer.pause", f"consumer:{name}", reason="It is drained.")
        done += ended
    return done
