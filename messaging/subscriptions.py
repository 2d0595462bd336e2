"""Write the consumers of this release into the database, so that every relay, an older one too, serves them."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from messaging.consumers import Consumer, all_consumers
from messaging.database import store
from messaging.models import ConsumerState, Subscription


def synchronise(*, is_deploy: bool = False) -> int:
    """Add or update the rows of every consumer registered here; return how many there are.

    A new subscription starts now: what was published before it is not delivered. Rows of consumers that this
    release does not know are left alone, as another service may own them. Only a deploy takes away what a consumer
    no longer wants: a relay of the release before, starting again, must not undo the new one's subscriptions.
    """
    consumers = all_consumers()
    with transaction.atomic():
        if has_news(consumers):
            # A relay that reads the subscriptions waits here, so whatever it relays later was published after
            # the starting position that is read next: no message falls between the two.
            store().lock_subscriptions()
        now = store().now()
        for declared in consumers:
            _synchronise_one(declared, now, is_deploy=is_deploy)
    return len(consumers)


def has_news(consumers: list[Consumer]) -> bool:
    """Say whether one of these consumers wants something that no subscription says yet."""
    present = set(Subscription.objects.values_list("type", "consumer"))
    return any((type_, declared.name) not in present for declared in consumers for type_ in declared.accepts)


def _synchronise_one(declared: Consumer, now: datetime, *, is_deploy: bool) -> None:
    ConsumerState.objects.update_or_create(
        name=declared.name,
        defaults={
            "queue": declared.queue, "guarantee": declared.guarantee, "handler": declared.path,
            "description": (declared.handler.__doc__ or "").strip().split("\n\n")[0],
            "policy": declared.retry.describe(), "synced_at": now, "retired_at": None,
        },
    )  # fmt: skip
    wanted = set(declared.accepts)
    if is_deploy:
        Subscription.objects.filter(consumer=declared.name).exclude(type__in=wanted).delete()
    Subscription.objects.bulk_create(
        [Subscription(type=type_, consumer=declared.name, starts_at=now) for type_ in sorted(wanted)],
        ignore_conflicts=True,
    )
