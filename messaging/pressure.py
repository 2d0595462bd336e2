"""Back-pressure: consumers whose backlog passed their limit, and what ingresses refuse for their sake."""

from __future__ import annotations

from django.db.models import Q

from messaging import signals
from messaging.contracts.model import MessageModel
from messaging.database import store
from messaging.errors import Backlogged
from messaging.models import ConsumerState, Delivery, Subscription

RELIEF = 0.8
"""Behind until the backlog is down to this part of its limit, so that it does not flutter around it."""


def behind(*models: type[MessageModel]) -> tuple[str, ...]:
    """Return the consumers of these contracts that are behind; without contracts, all of them."""
    return _behind([model.contract_name for model in models])


def _behind(types: list[str]) -> tuple[str, ...]:
    rows = ConsumerState.objects.filter(behind_since__isnull=False, retired_at=None)
    names = sorted(rows.values_list("name", flat=True))
    if not names or not types:
        return tuple(names)
    concerned = Subscription.objects.filter(type__in=types, consumer__in=names)
    return tuple(sorted(set(concerned.values_list("consumer", flat=True))))


def check(type_: str) -> None:
    """Refuse a message from outside whose subscribers are behind.

    Raises:
        Backlogged: they are.
    """
    if names := _behind([type_]):
        raise Backlogged(names)


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
