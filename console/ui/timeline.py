"""Causes and effects of a message, one line each, with the time since the flow began."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from console.ui.markup import numbers
from messaging.queries.messages import MessageDetail

SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class Step:
    id: UUID
    name: str
    status: str
    gaps: str
    """One character for each level above the last; a template has no numbers to loop over."""
    is_child: bool
    offset: str
    is_this: bool


@dataclass(frozen=True, kw_only=True)
class Timeline:
    steps: tuple[Step, ...]
    hidden: int
    is_capped: bool


def timeline_of(detail: MessageDetail) -> Timeline:
    """Lay the flow out as a tree; times are relative to this message. A long flow shows what stands around it."""
    related = detail.related
    here = next((index for index, item in enumerate(related) if item.is_this), 0)
    first = max(0, min(here - SHOWN // 2, len(related) - SHOWN))
    shown = related[first : first + SHOWN]
    return Timeline(
        steps=tuple(
            Step(
                id=item.id,
                name=item.type,
                status=item.status,
                gaps=" " * min(item.depth - 1, 11),
                is_child=item.depth > 0,
                offset=_offset((item.published_at - detail.published_at).total_seconds()),
                is_this=item.is_this,
            )
            for item in shown
        ),
        hidden=len(related) - len(shown),
        is_capped=detail.related_is_capped,
    )


def _offset(seconds: float) -> str:
    sign = "−" if seconds < 0 else "+"
    return f"{sign} {numbers.milliseconds(abs(seconds) * 1000)}"
