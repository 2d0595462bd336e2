"""Messages that stand in a hot table: few, whatever the history.

A page of them shows a list, bars and a range of times. Each was a statement of its own that joined all of them with
every partition of the messages; here their ids are read once, and the rest is looked up by id.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from django.db.models import Exists, OuterRef, Value

from messaging.queries.message_filter import MessageFilter, matching
from messaging.queries.shared import once
from messaging.queries.statuses import unresolved_dead_letters

MOST = 100_000
"""No more ids are read."""


@dataclass(frozen=True, kw_only=True)
class Few:
    """The ids, as numbers, oldest first."""

    ids: Sequence[int]
    dead: Sequence[int]
    """Those with an unresolved dead letter."""
    is_whole: bool
    """False when there are more than MOST: then these are any of them."""

    def next_to(self, *, limit: int, after: UUID | None, before: UUID | None) -> list[UUID]:
        """Return the ids of a page and one more: ``limit`` older than ``after``, or newer than ``before``."""
        if before is not None:
            start = bisect_right(self.ids, before.int)
            found = self.ids[start : start + limit + 1]
        else:
            end = len(self.ids) if after is None else bisect_left(self.ids, after.int)
            found = self.ids[max(0, end - limit - 1) : end]
        return [UUID(int=number) for number in found]

    def counts(self, edges: Sequence[UUID]) -> list[tuple[int, int]]:
        """Return between each two edges: how many are dead, how many are not."""
        everything, dead = (_counts(numbers, edges) for numbers in (self.ids, self.dead))
        return [(bad, count - bad) for bad, count in zip(dead, everything, strict=True)]


def _counts(numbers: Sequence[int], edges: Sequence[UUID]) -> list[int]:
    places = [bisect_left(numbers, edge.int) for edge in edges]
    return [end - start for start, end in pairwise(places)]


@once
def few(where: MessageFilter) -> Few:
    """Read the ids of ``where``, which must be ``is_few``."""
    letters = Exists(unresolved_dead_letters().filter(message_id=OuterRef("id")))
    is_dead = Value(True) if where.status == "dead" else letters
    rows = matching(where).order_by().annotate(is_bad=is_dead).values_list("id", "is_bad")
    found = sorted((identifier.int, is_bad) for identifier, is_bad in rows[: MOST + 1])
    kept = found[:MOST]
    return Few(
        ids=[number for number, _ in kept],
        dead=[number for number, is_bad in kept if is_bad],
        is_whole=len(found) <= MOST,
    )
