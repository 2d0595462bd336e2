"""Check the recount: what is planted must be noticed, or a report without a loss says nothing."""

from __future__ import annotations

from collections.abc import Callable

from tests.chaos.counts import Count
from tests.chaos.ledger import Entries
from tests.sweep.journey.consumers import HOLD_SEAT


class _RolledBack(Exception):
    pass


def remove_an_effect(entries: Entries) -> None:
    from tests.sweep.journey.models import Effect

    Effect.objects.filter(id=Effect.objects.filter(consumer=HOLD_SEAT).values("id")[:1]).delete()


def repeat_an_effect(entries: Entries) -> None:
    from tests.sweep.journey.models import Effect

    done = Effect.objects.filter(consumer=HOLD_SEAT)[0]
    Effect.objects.create(consumer=done.consumer, message_id=done.message_id, run=done.run)


def forget_a_publish(entries: Entries) -> None:
    number = max(entries.kinds) + 1
    entries.kinds[number], entries.answers[number] = "plain", "acknowledged"


def keep_a_rolled_back_one(entries: Entries) -> None:
    entries.answers[min(entries.with_answer("acknowledged"))] = "refused"


PLANTED: tuple[tuple[Callable[[Entries], None], Callable[[Count], int]], ...] = (
    (remove_an_effect, lambda count: count.lost),
    (repeat_an_effect, lambda count: count.duplicated),
    (forget_a_publish, lambda count: count.lost),
    (keep_a_rolled_back_one, lambda count: count.unexpected),
)
"""What is planted, and the figure that must rise by one."""


def blind_spots(entries: Entries, truth: Count, recount: Callable[[Entries], Count]) -> list[str]:
    """Return what the recount does not notice. Everything planted is rolled back."""
    from django.db import transaction

    found = []
    for plant, figure in PLANTED:
        tampered = Entries(dict(entries.kinds), dict(entries.answers))
        try:
            with transaction.atomic():
                plant(tampered)
                is_noticed = figure(recount(tampered)) == figure(truth) + 1
                raise _RolledBack
        except _RolledBack:
            pass
        if not is_noticed:
            found.append(f"the recount does not notice: {plant.__name__.replace('_', ' ')}")
    return found
