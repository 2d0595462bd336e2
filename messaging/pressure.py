"""Back-pressure: consumers whose backlog passed their limit, and what ingresses refuse for their sake."""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from messaging import filters, signals
from messaging.contracts.model import MessageModel
from messaging.database import store
from messaging.envelope import Envelope
from messaging.errors import Backlogged
from messaging.models import ConsumerState, Delivery, Subscription

RELIEF = 0.8
"""Behind until the backlog is down to this part of its limit, so that it does not flutter around it."""


def behind(*models: type[MessageModel]) -> tuple[str, ...]:
    """Return the consumers of these contracts that are behind; without contracts, all of them.

    What their filters say of a message is not asked.
    """
    names = _behind()
    if not names or not models:
        return tuple(names)
    concerned = _subscriptions(names, [model.contract_name for model in models])
    return tuple(sorted({name for name, _ in concerned}))


def check(message: Envelope) -> None:
    """Refuse a message from outside that would add to the backlog of a consumer that is behind.

    Raises:
        Backlogged: it would, as its filter does not keep the message out.
    """
    if not (names := _behind()):
        return
    concerned = _subscriptions(names, [message.type])
    if grows := sorted(name for name, asked in concerned if asked is None or filters.passes(asked, message)):
        raise Backlogged(tuple(grows))


def _behind() -> list[str]:
    rows = ConsumerState.objects.filter(behind_since__isnull=False, retired_at=None)
    return sorted(rows.values_list("name", flat=True))


def _subscriptions(names: list[str], types: list[str]) -> list[tuple[str, dict[str, Any] | None]]:
    """Return the subscriptions of these consumers to these types, with their filters."""
    rows = Subscription.objects.filter(type__in=types, consumer__in=names)
    return list(rows.values_list("consumer", "filter"))


def note() -> int:
    """Note which consumers passed their limit, and which have caught up; return how many changed."""
    changed = 0
    for state in ConsumerState.objects.filter(Q(backlog_limit__isnull=False) | Q(behind_since__isnull=False)):
        limit, mine = state.backlog_limit, ConsumerState.objects.filter(name=state.name)
        if limit is None:  # a release without the limit must not stay behind for ever
            changed += mine.filter(backlog_limit=None).update(behind_since=None)
            continue
        backlog = Delivery.objects.filter(consumer=state.name)[: limit + 1].count()
        if state.behind_since is None and backlog > limit:
            changed += mine.filter(behind_since=None).update(behind_since=store().now())
        elif state.behind_since is not None and backlog <= limit * RELIEF:
            changed += mine.filter(behind_since__isnull=False).update(behind_since=None)
    if changed:
        signals.changed.send_robust(None, topics=frozenset({"consumers"}))
    return changed
