"""Tags of the pages that show flows and traces."""

from __future__ import annotations

from collections.abc import Sequence

from django import template
from django.http import HttpRequest, QueryDict
from django.template.context import Context
from django.utils.safestring import SafeString

from console.ui.markup import charts, numbers

register = template.Library()


@register.simple_tag(takes_context=True)
def window_query(context: Context, name: str, place: int) -> str:
    """Return this page's query string with the window of ``name`` at another place."""
    request: HttpRequest | None = context.get("request")
    query = request.GET.copy() if request is not None else QueryDict(mutable=True)
    query[name] = str(place)
    return f"?{query.urlencode()}"


@register.simple_tag
def stackbar_of(parts: Sequence[tuple[str, float, str]]) -> SafeString:
    """Show what a length of time consists of."""
    label = ", ".join(f"{numbers.milliseconds(seconds * 1000)} {words}" for _, seconds, words in parts)
    return charts.stacked([(state, seconds) for state, seconds, _ in parts], label=f"Critical path: {label}")


@register.simple_tag
def seconds_ms(seconds: float) -> str:
    return numbers.milliseconds(seconds * 1000)
