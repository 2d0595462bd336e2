"""Replays of history: how far each is, and what those in shadow found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from messaging.models import HistoryReplay


@dataclass(frozen=True, kw_only=True)
class ReplayRow:
    """One replay. ``report`` is empty unless it runs in shadow; ``left_out`` counts messages by reason."""

    id: UUID
    consumer: str
    mode: str
    state: str
    types: list[str]
    from_at: datetime
    to_at: datetime
    only_missing: bool
    rate: float
    total: int
    looked_at: int
    done: int
    left_out: dict[str, int]
    report: dict[str, Any]
    last_error: str
    started_at: datetime
    started_by: str
    reason: str
    ended_at: datetime | None
    ended_by: str

    @property
    def remaining(self) -> int:
        """Messages not looked at yet; the total was counted at the start, so late commits may make it 0 too early."""
        return max(0, self.total - self.looked_at) if self.state != "done" else 0

    @property
    def out(self) -> int:
        return sum(self.left_out.values())

    @property
    def remaining_time(self) -> timedelta:
        """About how long it takes at its rate."""
        return timedelta(seconds=self.remaining / self.rate)

    @property
    def parts(self) -> list[tuple[str, float]]:
        """Its progress by state, for a bar."""
        return [("handled", self.done), ("discarded", self.out), ("pending", self.remaining)]

    @property
    def differing(self) -> int:
        return int(self.report.get("differing", 0))


_NAMES = tuple(ReplayRow.__dataclass_fields__)


def list_replays(*, limit: int = 50) -> list[ReplayRow]:
    """Return the newest replays first, without their samples."""
    rows = HistoryReplay.objects.order_by("-id").values(*_NAMES)[:limit]
    return [ReplayRow(**{**row, "report": {**row["report"], "samples": []}}) for row in rows]


def get_replay(id: UUID) -> ReplayRow | None:
    row = HistoryReplay.objects.filter(id=id).values(*_NAMES).first()
    return ReplayRow(**row) if row else None


def count_running() -> int:
    return HistoryReplay.objects.filter(state="running").count()
