"""Write the consumers of this release into the database, so that every relay, an older one too, serves them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

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
        _tell(consumers, now, is_deploy=is_deploy)
        make_gates({gate for declared in consumers if declared.is_gated for gate in declared.gates})
        if is_deploy:
            _undo_the_release_before(consumers)
        _subscribe(consumers, now, is_deploy=is_deploy)
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
    wanted = {id: _declared_breaker(id) for id in sorted(ids)}
    known = dict(Gate.objects.filter(id__in=wanted).values_list("id", "declared")) if wanted else {}
    fresh = [
        Gate(id=id, kind=id.partition(":")[0], name=id.partition(":")[2], declared=declared)
        for id, declared in wanted.items()
        if id not in known
    ]
    if fresh:
        Gate.objects.bulk_create(fresh, ignore_conflicts=True)  # another process may start with the same release
    for id, declared in wanted.items():
        if known.get(id, declared) != declared:
            Gate.objects.filter(id=id).update(declared=declared)


def _declared_breaker(id: str) -> dict[str, Any]:
    kind, _, name = id.partition(":")
    owner = find_dependency(name) if kind == Gate.Kind.DEPENDENCY else find_consumer(name)
    return owner.breaker.describe() if owner and owner.breaker else {}


def _tell(consumers: list[Consumer], now: datetime, *, is_deploy: bool) -> None:
    """Write how each consumer is declared; of those that nothing changed for, only when they were seen."""
    names = [declared.name for declared in consumers]
    # Locked in the order of their names: two processes that start together must not wait for each other.
    rows = ConsumerState.objects.select_for_update().filter(name__in=names).order_by("name")
    known = {row.name: row for row in rows}
    fresh, same = [], []
    for declared in consumers:
        row = known.get(declared.name)
        if row is None:
            fresh.append(ConsumerState(name=declared.name, synced_at=now, **_told(declared), **_deployed(declared)))
            continue
        if is_deploy:
            reschedule(declared, row.policy, now)
        wanted = {**_told(declared), **_deployed(declared)} if is_deploy else _told(declared)
        if changes := {field: value for field, value in wanted.items() if getattr(row, field) != value}:
            ConsumerState.objects.filter(name=declared.name).update(**changes, synced_at=now)
        else:
            same.append(declared.name)
    if fresh:
        ConsumerState.objects.bulk_create(fresh, ignore_conflicts=True)  # another process may start with this release
    ConsumerState.objects.filter(name__in=same).update(synced_at=now)


def _told(declared: Consumer) -> dict[str, Any]:
    return {
        "queue": declared.queue, "guarantee": declared.guarantee, "handler": declared.path,
        "description": (declared.handler.__doc__ or "").strip().split("\n\n")[0],
        "retired_at": None,
        "batch_size": declared.batch.size if declared.batch else None,
        "batch_seconds": declared.batch.wait if declared.batch else None,
        "limits": declared.limits, "backlog_limit": declared.backlog_limit,
    }  # fmt: skip


def _deployed(declared: Consumer) -> dict[str, Any]:
    """Return what only a deploy changes.

    A relay of the release before that starts again must not undo what decides where messages go. One of the new
    release that starts before the deploy must not hide from it that the policy changed, and what waits has to move.
    """
    return {
        "policy": declared.retry.describe(),
        "is_ordered": declared.is_ordered, "on_failure": declared.on_failure if declared.is_ordered else "",
        "filter": declared.filter,
    }  # fmt: skip


def _subscribe(consumers: list[Consumer], now: datetime, *, is_deploy: bool) -> None:
    """Add what is wanted and not there. A command has one handler.

    The deploy that gives it another takes the old one's place, with all that still waits in the outbox; a relay of
    the release before must not come back beside it.
    """
    contracts = {type_: model for each in consumers for type_, model in each.accepts.items()}
    commands = [type_ for type_, model in contracts.items() if model.contract_kind == "command"]
    holders: dict[str, dict[str, datetime]] = {type_: {} for type_ in commands}
    known: set[tuple[str, str]] = set()
    for type_, name, starts_at in Subscription.objects.values_list("type", "consumer", "starts_at"):
        known.add((type_, name))
        if type_ in holders:
            holders[type_][name] = starts_at
    fresh = []
    for declared in consumers:
        for type_ in sorted(declared.accepts):
            at = now
            if others := {name: at for name, at in holders.get(type_, {}).items() if name != declared.name}:
                if not is_deploy:
                    continue
                at = min(others.values())
                Subscription.objects.filter(type=type_, consumer__in=others).delete()
            if (type_, declared.name) not in known:
                fresh.append(
                    Subscription(
                        type=type_,
                        consumer=declared.name,
                        starts_at=at,
                        is_ordered=declared.is_ordered,
                        filter=declared.filter,
                    )
                )
    if fresh:
        Subscription.objects.bulk_create(fresh, ignore_conflicts=True)


def _undo_the_release_before(consumers: list[Consumer]) -> None:
    """Take away what consumers no longer want: subscriptions, filter, order, and what order left waiting."""
    declared = {each.name: each for each in consumers}
    for row in Subscription.objects.filter(consumer__in=declared):
        mine, its = declared[row.consumer], Subscription.objects.filter(type=row.type, consumer=row.consumer)
        if row.type not in mine.accepts:
            its.delete()
        elif (row.is_ordered, row.filter) != (mine.is_ordered, mine.filter):
            its.update(is_ordered=mine.is_ordered, filter=mine.filter)
    unordered = [each.name for each in consumers if not each.is_ordered]
    # Workers of this release look for no position: without it the rows are claimed like all others.
    Delivery.objects.filter(consumer__in=unordered, position__isnull=False).update(position=None)
    skipping = [each.name for each in consumers if not each.is_ordered or each.on_failure == "skip"]
    DeadLetter.objects.filter(consumer__in=skipping, blocks=True).update(blocks=False)
