"""Icons and states. A state is icon, word and colour, always all three."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from console.ui.markup.text import visible

WORDS = {
    "pending": "Pending",
    "running": "Running",
    "retrying": "Retrying",
    "handled": "Handled",
    "dead": "Dead-lettered",
    "discarded": "Discarded",
    "paused": "Paused",
    "scheduled": "Scheduled",
}
"""Every state the stylesheet and the sprite know, with its word."""

ALIASES = {
    "draining": ("paused", "Draining"),
    "retired": ("discarded", "Retired"),
    "will_retry": ("retrying", "Will retry"),
    "retry": ("retrying", "Retried"),
    "dead_lettered": ("dead", "Dead-lettered"),
    "dead_letter": ("dead", "Dead-lettered"),
    "failed": ("dead", "Failed"),
    "crashed": ("dead", "Crashed"),
    "refused": ("retrying", "Refused"),
    "denied": ("dead", "Denied"),
    "done": ("handled", "Done"),
    "ok": ("handled", "Done"),
    "ignored": ("discarded", "Ignored"),
    "filtered": ("discarded", "Filtered"),
    "aborted": ("discarded", "Aborted"),
    "postponed": ("retrying", "Postponed"),
    "cancelled": ("discarded", "Cancelled"),
    "active": ("handled", "Active"),
    "under_way": ("running", "Under way"),
    "ended": ("handled", "Ended"),
    "compensating": ("retrying", "Compensating"),
    "undone": ("discarded", "Undone"),
    "undoing": ("retrying", "Being undone"),
    "failing": ("dead", "Failing"),
    "overdue": ("retrying", "Overdue"),
    "parked": ("scheduled", "Parked"),
    "quarantined": ("dead", "Quarantined"),
    "open": ("dead", "Open"),
    "breaker_open": ("retrying", "Breaker open"),
    "half_open": ("running", "Half open"),
    "closed": ("handled", "Closed"),
    "behind": ("retrying", "Behind"),
    "replayed": ("running", "Replayed"),
    "resubmitted": ("running", "Resubmitted"),
}
"""Words of other tables, shown in the colour of the state they mean."""


class Dot(Protocol):
    @property
    def consumer(self) -> str: ...

    @property
    def status(self) -> str: ...


def look(status: str) -> tuple[str, str]:
    """Return the state (its icon and colour) and the word for any status the bus uses."""
    if status in WORDS:
        return status, WORDS[status]
    if status in ALIASES:
        return ALIASES[status]
    return "pending", status.replace("_", " ").capitalize()


def icon(name: str, classes: str = "") -> SafeString:
    return _icon(name, classes, static("icons.svg"))


@lru_cache(maxsize=512)
def _icon(name: str, classes: str, sheet: str) -> SafeString:
    return format_html(
        '<svg class="{}" aria-hidden="true"><use href="{}#i-{}"/></svg>', f"i {classes}".strip(), sheet, name
    )


def state(status: str, text: object = None, *, classes: str = "state") -> SafeString:
    name, word = look(str(status))
    return format_html(
        '<span class="{} s-{}">{}{}</span>', classes, name, icon(name), word if text in (None, "") else text
    )


def badge(status: str, text: object = None, *, large: bool = False) -> SafeString:
    return state(status, text, classes="badge is-large" if large else "badge")


def dots(deliveries: Iterable[Dot]) -> SafeString:
    """Return one icon per delivery; the words are there for hover and for screen readers."""
    rows = [(f"s-{look(row.status)[0]}", look(row.status), visible(row.consumer)) for row in deliveries]
    if not rows:
        return format_html('<span class="quiet">{}</span>', "no consumer")
    words = ", ".join(f"{consumer} {word.lower()}" for _, (_, word), consumer in rows)
    icons = format_html_join("", "{}", ((icon(name, colour),) for colour, (name, _), _ in rows))
    return format_html('<span class="dots" title="{}">{}<span class="sr">{}</span></span>', words, icons, words)
