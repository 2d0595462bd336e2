"""Check the recount: what is planted must be noticed, or a report without a loss says nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.chaos.counts import Count
from tests.chaos.ledger import Entries
from tests.sweep.journey.consumers import HOLD_SEAT


class _RolledBack(Exception):
    pass


def remove_an_effect(entries: Entries) -> None:
    from tests.sweep.journey.models import Effect

    Effect.objects.filter(id=Effect.objects.filter(consumer=HOLD_SEAT).order_by("id").values("id")[:1]).delete()


def repeat_an_effect(entries: Entries) -> None:
    from tests.sweep.journey.models import Effect

    done = Effect.objects.filter(consumer=HOLD_SEAT).order_by("-id")[0]
    Effect.objects.create(consumer=done.consumer, message_id=done.message_id, run=done.run)


def forget_a_publish(entries: Entries) -> None:
    number = max(entries.kinds) + 1
    entries.kinds[number], entries.answers[number] = "plain", "acknowledged"


def keep_a_rolled_back_one(entries: Entries) -> None:
    entries.answers[min(entries.with_answer("acknowledged"))] = "refused"


PLANTED: tuple[tuple[Callable[[Entries], None], str], ...] = (
    (remove_an_effect, "lost"),
    (repeat_an_effect, "duplicated"),
    (forget_a_publish, "lost"),
    (keep_a_rolled_back_one, "unexpected"),
)
"""What is planted, and the figure that must rise by one."""


def blind_spots(entries: Entries, truth: Count, recount: Callable[[Entries], Count]) -> list[str]:
    """Return what the recount does not notice. All is planted together, as each counts apart, and rolled back."""
    from django.db import transaction

    tampered, found = Entries(dict(entries.kinds), dict(entries.answers)), Count()
    try:
        with transaction.atomic():
            for plant, _ in PLANTED:
                plant(tampered)
            found = recount(tampered)
            raise _RolledBack
    except _RolledBack:
        pass
    expected = Counter(figure for _, figure in PLANTED)
    return [
        f"the recount does not notice: {seen} of {number} planted {figure}"
        for figure, number in expected.items()
        if (seen := getattr(found, figure) - getattr(truth, figure)) != number
    ]
