"""Tags of the pages that find and repair messages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Protocol

from django import template
from django.http import HttpRequest, QueryDict
from django.template.context import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString

from console.templatetags.signalbox import cli
from console.ui.markup import charts, icons
from console.ui.markup.json_view import decode
from messaging.queries.dead_letters import Progress

register = template.Library()


@register.simple_tag(takes_context=True)
def drop_query(context: Context, name: str) -> str:
    """Return this page's query string without one parameter and without its cursors."""
    request: HttpRequest | None = context.get("request")
    query = request.GET.copy() if request is not None else QueryDict(mutable=True)
    for gone in (name, "after", "before", "message"):
        query.pop(gone, None)
    return f"?{query.urlencode()}" if query else "?"


@register.filter
def stamp(moment: datetime | None) -> str:
    """Return an absolute time in UTC for a URL, to the millisecond."""
    if moment is None:
        return ""
    utc = moment.astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}Z"


@register.filter
def place(location: str) -> str:
    """Return "money.py:88" of a location "shop/billing/money.py:88 in charge"."""
    return location.partition(" in ")[0].rpartition("/")[2][:60]


@register.filter
def text(value: Any) -> str:
    """Return any header or body as text."""
    if isinstance(value, bytes | str):
        return decode(value)
    return json.dumps(value, ensure_ascii=False, default=str)


@register.simple_tag
def dot(status: str) -> SafeString:
    """Show a state as its icon alone, the word for hover and screen readers."""
    name, word = icons.look(status)
    return format_html(
        '<span class="dots" title="{}">{}<span class="sr">{}</span></span>', word, icons.icon(name, f"s-{name}"), word
    )


@register.simple_tag(takes_context=True)
def api_call(context: Context, method: str, area: str, identifier: object = "", action: str = "") -> SafeString:
    """Show the equivalent call of the REST API."""
    parts = [str(part) for part in (identifier, action) if part != ""]
    address = context["request"].build_absolute_uri("/".join([f"/api/v1/{area}", *parts]))
    data = """ --json '{"reason": "…"}'""" if method == "POST" else ""
    return cli(f'curl -H "Authorization: Bearer $TOKEN" {address}{data}')


REASONS = {
    "permanent": ("Permanent", "the handler says retrying cannot help"),
    "exhausted": ("Retries exhausted", "every attempt of the policy failed"),
    "crash_loop": ("Crash loop", "the process died while running it alone"),
    "contract": ("Contract", "the body does not satisfy its contract"),
    "expired": ("Expired", "its time was over before it was handled"),
}


@register.filter
def reason_words(reason: str | None) -> str:
    return REASONS.get(reason or "", ((reason or "").replace("_", " "), ""))[0]


@register.filter
def reason_hint(reason: str | None) -> str:
    return REASONS.get(reason or "", ("", ""))[1]


class HasState(Protocol):
    @property
    def state(self) -> str: ...

    @property
    def resolution(self) -> str: ...

    @property
    def resolved_by(self) -> str: ...


_STATES = {
    "open": ("dead", "Dead-lettered"),
    "replaying": ("running", "Replay on its way"),
    "resubmitting": ("running", "Copy on its way"),
    "discarded": ("discarded", "Discarded"),
}


def _look(row: HasState) -> tuple[str, str]:
    if row.resolution == "failed_again":
        return "dead", "Failed again"
    if row.state == "resolved":
        return "handled", {"resubmitted": "Resolved by a copy"}.get(row.resolution, "Resolved by replay")
    return _STATES.get(row.state, ("pending", row.state))


@register.simple_tag
def dead_state(row: HasState) -> SafeString:
    return icons.state(*_look(row))


@register.simple_tag
def dead_badge(row: HasState) -> SafeString:
    return icons.badge(*_look(row))


@register.simple_tag
def dead_words(row: HasState) -> str:
    """Say in one sentence what became of a dead letter, and by whom."""
    by = f" by {row.resolved_by}" if row.resolved_by else ""
    return f"{_look(row)[1]}{by}."


@register.simple_tag
def progress_bar(progress: Progress) -> SafeString:
    parts = [
        ("handled", progress.handled), ("dead", progress.failed_again), ("discarded", progress.discarded),
        ("pending", progress.waiting + progress.untouched),
    ]  # fmt: skip
    return charts.stacked(parts)


@register.simple_tag
def counted(status: str, count: int, words: str) -> SafeString:
    """Show a number with its state: icon, number, word."""
    return icons.state(status, f"{count:,} {words}")


@register.filter
def lead(text: str) -> str:
    """Begin with a line break: HTML drops the first one of a textarea."""
    return "\n" + text


KINDS = {
    "parked": (
        "scheduled",
        "Parked",
        "Its type or version is unknown here; a later deploy may know it. Then send it in again.",
    ),
    "quarantined": (
        "dead",
        "Quarantined",
        "It cannot be decoded or violates its contract. Sending it in again helps only after a change here.",
    ),
    "conflict": (
        "retrying",
        "Conflict",
        "This id was received before with another body. The first one stands; this one was not published.",
    ),
}


def _kind(kind: str) -> tuple[str, str, str]:
    return KINDS.get(kind, ("pending", kind, ""))


@register.simple_tag
def kind_state(kind: str) -> SafeString:
    return icons.state(*_kind(kind)[:2])


@register.simple_tag
def kind_badge(kind: str) -> SafeString:
    return icons.badge(*_kind(kind)[:2])


@register.simple_tag
def kind_class(kind: str) -> str:
    return f"s-{_kind(kind)[0]}"


@register.simple_tag
def kind_hint(kind: str) -> str:
    return _kind(kind)[2]
