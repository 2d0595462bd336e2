"""Tags and filters of the console's templates. Each part's look is on /components."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import HttpRequest
from django.template.context import Context
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from console.ui import context as page_context
from console.ui.markup import charts, icons, json_view, numbers, traceback_view
from console.ui.markup.text import middle, visible
from messaging import clock
from messaging.signals import TOPICS

register = template.Library()

register.simple_tag(icons.icon, name="icon")
register.simple_tag(icons.state, name="state")
register.simple_tag(icons.badge, name="badge")


@register.simple_tag
def dots(deliveries: Iterable[icons.Dot]) -> SafeString:
    return icons.dots(deliveries)


@register.filter
def state_name(status: str) -> str:
    """Return the stylesheet's state for any status, for class="s-…"."""
    return icons.look(str(status))[0]


@register.filter
def state_word(status: str) -> str:
    return icons.look(str(status))[1]


@register.filter(name="number")
def number_filter(value: Any) -> str:
    return (
        numbers.number(value) if isinstance(value, int | float) else str(value if value is not None else numbers.EMPTY)
    )


@register.simple_tag
def number(value: float | None, decimals: int | None = None) -> str:
    return numbers.number(value, decimals)


@register.simple_tag
def capped(count: numbers.Capped) -> str:
    return numbers.capped(count)


@register.filter(name="capped")
def capped_filter(count: numbers.Capped) -> str:
    return numbers.capped(count)


@register.filter(name="ms")
def ms_filter(value: float | None) -> str:
    return numbers.milliseconds(value)


@register.simple_tag
def ms(value: float | None) -> str:
    return numbers.milliseconds(value)


@register.filter(name="duration_us")
def duration_us_filter(value: float | None) -> str:
    return numbers.milliseconds(None if value is None else value / 1000)


@register.simple_tag
def duration_us(value: float | None) -> str:
    return numbers.milliseconds(None if value is None else value / 1000)


@register.filter
def seconds(value: float | None) -> str:
    return numbers.EMPTY if value is None else numbers.span(value)


@register.filter
def percent(share: float | None, decimals: int = 1) -> str:
    return numbers.EMPTY if share is None else f"{share * 100:.{int(decimals)}f} %"


@register.simple_tag
def when(moment: datetime | None, form: str = "ago") -> SafeString:
    return numbers.time_tag(moment, form, clock.now())


@register.filter
def shortened(value: object) -> str:
    """Shorten an id in its middle."""
    return middle(visible(str(value)))


@register.filter(name="visible")
def visible_filter(value: object) -> str:
    return visible(str(value))


@register.simple_tag
def short_id(value: object, href: str = "", copy: bool = True) -> SafeString:
    """Show an id shortened in its middle, whole on hover, with a button that copies it."""
    whole = visible(str(value)) if value not in (None, "") else ""
    if not whole:
        return format_html('<span class="quiet">{}</span>', numbers.EMPTY)
    code = format_html('<code class="id" title="{}">{}</code>', whole, middle(whole))
    shown = format_html('<a href="{}">{}</a>', href, code) if href else code
    return format_html('<span class="row gap-0">{}{}</span>', shown, copy_button(whole) if copy else "")


@register.simple_tag
def copy_button(text: object, label: str = "Copy") -> SafeString:
    return format_html(
        '<button class="copy" type="button" data-copy="{}" aria-label="{}" title="{}">{}</button>',
        visible(str(text)),
        label,
        label,
        icons.icon("copy"),
    )


@register.simple_tag
def cli(command: str) -> SafeString:
    """Show the equivalent command or call, with a button that copies it."""
    return format_html(
        '<div class="cli">{}<code title="{}">{}</code>{}</div>',
        icons.icon("terminal"),
        command,
        command,
        copy_button(command, "Copy command"),
    )


@register.simple_tag
def json_body(body: bytes | str, hot: Collection[object] = ()) -> SafeString:
    """Show a body as numbered lines; ``hot`` marks lines as wrong, by number or by path ("items[0].price")."""
    return json_view.render(body, hot=hot or ())


@register.simple_tag
def traceback(text: str) -> SafeString:
    return traceback_view.render(text or "")


@register.simple_tag
def sparkline(values: Sequence[float | None], state: str = "", label: str = "", wide: bool = False) -> SafeString:
    return charts.sparkline(values, status=state, label=label, wide=wide)


@register.simple_tag
def bars(values: Sequence[float], state: str = "", label: str = "", wide: bool = False) -> SafeString:
    return charts.columns(values, status=state, label=label, wide=wide)


@register.simple_tag
def bar(share: float | None, state: str = "", label: str = "") -> SafeString:
    return charts.bar(share or 0, status=state, label=label)


@register.simple_tag
def stackbar(parts: Sequence[tuple[str, float]], label: str = "") -> SafeString:
    return charts.stacked(parts, label=label)


@register.simple_tag(takes_context=True)
def keep_query(context: Context, **changes: Any) -> str:
    """Return this page's query string with ``changes``; None or "" drops a parameter. Pages' cursors never survive."""
    request: HttpRequest | None = context.get("request")
    given = request.GET.lists() if request is not None else ()
    # Not a copy of the QueryDict, which is a deep one: a list of messages asks for two hundred links.
    query = {name: values for name, values in given if name not in {"after", "before"}}
    for name, value in changes.items():
        if value is None or value == "":
            query.pop(name, None)
        else:
            query[name] = [str(value)]
    return f"?{urlencode(query, doseq=True)}"


@register.simple_tag(takes_context=True)
def current(context: Context, name: str) -> SafeString:
    """Mark the section that this page belongs to; ``name`` is the URL name of the section's first page."""
    path, first = getattr(context.get("request"), "path", ""), reverse(name)
    is_here = path == first or (name != "overview" and path.startswith(f"{first}/"))
    return SafeString(' aria-current="page"' if is_here else "")


@register.filter
def role(user: Any) -> str:
    """Name the role of a signed-in person."""
    if user.is_superuser:
        return "admin"
    return "operator" if user.has_perm("messaging.operate") else "viewer"


@register.simple_tag
def if_vendor(name: str) -> str:
    """Return the URL of a vendored file, or "" while "make assets" has not run."""
    return static(f"vendor/{name}") if finders.find(f"vendor/{name}") or _is_collected(name) else ""


def _is_collected(name: str) -> bool:
    return settings.STATIC_ROOT is not None and (Path(settings.STATIC_ROOT) / f"vendor/{name}").is_file()


@register.simple_tag(takes_context=True)
def shell(context: Context) -> page_context.Shell:
    """Return what the rail and the status strip show."""
    return page_context.shell(context["request"])


@register.simple_tag
def live_topics() -> str:
    """Return what a hint may say has changed, separated by spaces."""
    return " ".join(TOPICS)
