"""Write the consumers of this release into the database, so that every relay, an older one too, serves them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from messaging import failpoints
from messaging.consumers import Consumer, all_consumers, find_consumer
from messaging.database import store
from messaging.dependencies import find_dependency
from messaging.models import ConsumerState, DeadLetter, Delivery, Gate, Subscription
from messaging.rescheduling import reschedule


def synchronise(*, is_deploy: bool = False) -> int:
    """Add or update the rows of every consumer registered here; return how many there are.

    A new subscription starts now: what was published before it is not delivered. Rows of consumers that this
    release does not know are left alone, as another service may own them. Only a deploy takes away what a consumer
    no longer wants: a relay of the release before, starting again, must not undo the new one's subscriptions.
    """
    consumers = all_consumers()
    with failpoints.atomic("synchronise"):
        if has_news(consumers, is_deploy=is_deploy):
            # A relay that reads the subscriptions waits here, so whatever it relays later was published after
            # the starting position that is read next: no message falls between the two.
            store().lock_subscriptions()
        now = store().now()
        for declared in consumers:
            _synchronise_one(declared, now, is_deploy=is_deploy)
    return len(consumers)


def has_news(consumers: list[Consumer], *, is_deploy: bool = False) -> bool:
    """Say whether one of these consumers wants something that no subscription says yet."""
    rows = Subscription.objects.values_list("type", "consumer", "is_ordered", "filter")
    present = {(type_, name): (is_ordered, wanted) for type_, name, is_ordered, wanted in rows}
    return any(
        (type_, declared.name) not in present
        or (is_deploy and present[type_, declared.name] != (declared.is_ordered, declared.filter))
        for declared in consumers
        for type_ in declared.accepts
    )


def make_gates(ids: Iterable[str]) -> None:
    """Make the rows in which workers share limits, or note how their breakers are declared now."""
    for id in sorted(ids):
        kind, _, name = id.partition(":")
        owner = find_dependency(name) if kind == Gate.Kind.DEPENDENCY else find_consumer(name)
        declared = owner.breaker.describe() if owner and owner.breaker else {}
        row, is_new = Gate.objects.get_or_create(id=id, defaults={"kind": kind, "name": name, "declared": declared})
        if not is_new and row.declared != declared:
            Gate.objects.filter(id=id).update(declared=declared)


def _synchronise_one(declared: Consumer, now: datetime, *, is_deploy: bool) -> None:
    if is_deploy:
        reschedule(declared, now)
    told = {
        "queue": declared.queue, "guarantee": declared.guarantee, "handler": declared.path,
        "description": (declared.handler.__doc__ or "").strip().split("\n\n")[0],
        "policy": declared.retry.describe(), "synced_at": now,
        "batch_size": declared.batch.size if declared.batch else None,
        "batch_seconds": declared.batch.wait if declared.batch else None, "retired_at": None,
        "limits": declared.limits, "backlog_limit": declared.backlog_limit,
    }  # fmt: skip
    # A relay of the release before that starts again must not undo what decides where messages go.
    routed = {
        "is_ordered": declared.is_ordered, "on_failure": declared.on_failure if declared.is_ordered else "",
        "filter": declared.filter,
    }  # fmt: skip
    ConsumerState.objects.update_or_create(
        name=declared.name, defaults={**told, **routed} if is_deploy else told, create_defaults={**told, **routed}
    )
    if declared.is_gated:
        make_gates(declared.gates)
    wanted = set(declared.accepts)
    if is_deploy:
        _undo_the_release_before(declared, wanted)
    taken_over = {type_: _take_over(type_, declared, now, is_deploy=is_deploy) for type_ in _commands(declared)}
    starts = {type_: taken_over.get(type_, now) for type_ in sorted(wanted)}
    Subscription.objects.bulk_create(
        [
            Subscription(
                type=type_, consumer=declared.name, starts_at=at, is_ordered=declared.is_ordered, filter=declared.filter
            )
            for type_, at in starts.items()
            if at
        ],
        ignore_conflicts=True,
    )  # fmt: skip


def _undo_the_release_before(declared: Consumer, wanted: set[str]) -> None:
    """Take away what the consumer no longer wants: subscriptions, filter, order, and what order left waiting."""
    mine = Subscription.objects.filter(consumer=declared.name)
    mine.exclude(type__in=wanted).delete()
    mine.update(is_ordered=declared.is_ordered, filter=declared.filter)
    if not declared.is_ordered:
        # Workers of this release look for no position: without it the rows are claimed like all others.
        Delivery.objects.filter(consumer=declared.name, position__isnull=False).update(position=None)
    if not declared.is_ordered or declared.on_failure == "skip":
        DeadLetter.objects.filter(consumer=declared.name, blocks=True).update(blocks=False)


def _commands(declared: Consumer) -> list[str]:
    return sorted(type_ for type_, model in declared.accepts.items() if model.contract_kind == "command")


def _take_over(type_: str, declared: Consumer, now: datetime, *, is_deploy: bool) -> datetime | None:
    """Return from when on this consumer handles a command, or None while another one does.

    A command has one handler. The deploy that gives it another takes the old one's place, with all that still waits in
    the outbox; a relay of the release before must not come back beside it.
    """
    others = Subscription.objects.filter(type=type_).exclude(consumer=declared.name)
    since = others.order_by("starts_at").values_list("starts_at", flat=True).first()
    if since is None:
        return now
    if not is_deploy:
        return None
    others.delete()
    return since
