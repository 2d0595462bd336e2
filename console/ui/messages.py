"""Find a message: the list, and one message in a drawer or on a page of its own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages as flash
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_http_methods

from console.actors import actor_of
from console.ui.access import viewer
from console.ui.bodies import ShownBody, download, shown_body, visible_headers
from console.ui.histogram import histogram_of
from console.ui.search import RANGES, Search, cursor, parse_search, parse_words
from console.ui.shared import shared
from console.ui.timeline import timeline_of
from messaging import clock
from messaging.operations import REVEAL
from messaging.operations.access import record_denied, record_revealed
from messaging.queries import audit, messages, traces

PAGE = 50
LAST_ID = (1 << 128) - 1
TABS = (("summary", "Summary"), ("headers", "Headers and ids"), ("audit", "Audit"))
_BUSY = {"pending", "running", "retrying", "paused", "scheduled"}


@require_GET
@viewer
@shared("rows", "newer")
def message_list(request: HttpRequest) -> HttpResponse:
    """Show the list; ``than=`` answers with the "+N new" pill alone, ``upto=`` with the same rows read again."""
    if text := request.GET.get("q", "").strip():
        return _jump(request, text)
    search = parse_search(request.GET, now=clock.now())
    if (top := cursor(request.GET, "than")) is not None:
        newer = messages.count_newer(search.where, than=top)
        return render(request, "messages/_newer.html", {"newer": newer, "top": top, "search": search})
    if (top := cursor(request.GET, "upto")) is not None:
        page = messages.list_messages(search.without_times(), limit=PAGE, after=UUID(int=min(top.int + 1, LAST_ID)))
        return render(request, "messages/_rows.html", {"page": page, "search": search, "top": top})
    page = messages.list_messages(
        search.where, limit=PAGE, after=cursor(request.GET, "after"), before=cursor(request.GET, "before")
    )
    chosen = cursor(request.GET, "message")
    detail = messages.get_message(chosen) if chosen else None
    context = {**_list_context(search, page), **_detail_context(request, detail), "as_call": _as_call(request, search)}
    return render(request, "messages/list.html", context)


def _list_context(search: Search, page: Any) -> dict[str, Any]:
    since = search.since or messages.oldest_message(None if search.where.is_scan else search.where)
    is_countable = since is not None and messages.is_countable(search.where, since=since)
    bars = histogram_of(search.where, since=since, until=search.until) if since and is_countable else None
    return {
        "search": search,
        "page": page,
        "top": page.rows[0].id if page.rows else None,
        "histogram": bars,
        "since": since,
        "ranges": [(name, words) for name, (_, words) in RANGES.items()] + [("all", "All")],
        "statuses": messages.STATUSES,
        "is_empty_bus": not page.rows and messages.oldest_message() is None,
        "nearest": messages.nearest_before(search.where)
        if search.since and not page.rows and not page.ended_early
        else None,
    }


def _as_call(request: HttpRequest, search: Search) -> str:
    query = QueryDict(mutable=True)
    query.update({"correlation_id" if chip.field == "correlation" else chip.field: chip.value for chip in search.chips})
    if search.since:
        query["since"] = search.since.isoformat()
    query["until"] = search.until.isoformat()
    address = request.build_absolute_uri(f"/api/v1/messages?{query.urlencode()}")
    return f'curl -H "Authorization: Bearer $TOKEN" "{address}"'


def _jump(request: HttpRequest, text: str) -> HttpResponse:
    """Follow what was typed: an id jumps to its message, ``field:value`` becomes a chip of the URL."""
    words, rest = parse_words(text)
    query = request.GET.copy()
    for name in ("q", "after", "before", "message"):
        query.pop(name, None)
    for name, value in words.items():
        query[name] = value
    if rest:
        if trace := traces.find_trace(rest):
            return HttpResponseRedirect(reverse("trace", args=[trace]))
        found = messages.find_message(rest)
        # A message that began its flow gave it its own id: who types that wants the message.
        if str(found) != rest and traces.has_messages(rest):
            return HttpResponseRedirect(reverse("flow", args=[rest]))
        if found is not None:
            return HttpResponseRedirect(reverse("message", args=[found]))
        if any(rest in (name, name.rpartition(".")[2]) for name in messages.known_types()):
            query["type"] = rest
        else:
            flash.warning(request, f"“{rest[:80]}” is no message, dead letter, external or correlation id known here.")
    return HttpResponseRedirect(f"{reverse('messages')}?{query.urlencode()}")


@require_http_methods(["GET", "POST"])
@viewer
def message_page(request: HttpRequest, id: UUID) -> HttpResponse:
    """Show one message: a page, the drawer of the list, or only its deliveries, by what htmx asks for."""
    detail = messages.get_message(id)
    if detail is None:
        raise Http404("No such message; history older than the retention is gone.")
    is_revealed = False
    if request.method == "POST":
        refused = _reveal(request, detail)
        if refused:
            flash.error(request, refused)
            return HttpResponseRedirect(reverse("message", args=[id]))
        is_revealed = True
    context = _detail_context(request, detail, is_revealed=is_revealed)
    target = request.headers.get("HX-Target", "")
    if target == "deliveries":
        return render(request, "messages/_deliveries_live.html", context)
    template = "messages/_drawer.html" if target == "message" else "messages/detail.html"
    return render(request, template, context)


@require_GET
@viewer
def message_body(request: HttpRequest, id: UUID) -> HttpResponse:
    """Hand out a message's body as a file, masked."""
    detail = messages.get_message(id)
    if detail is None:
        raise Http404("No such message; history older than the retention is gone.")
    return download(detail, str(id))


def _reveal(request: HttpRequest, detail: messages.MessageDetail) -> str:
    """Record that hidden fields are shown to this person, and why; return what speaks against it."""
    actor, target = actor_of(request), f"message:{detail.id}"
    reason = request.POST.get("reason", "").strip()[:1000]
    if not actor.may(REVEAL):
        record_denied(actor=actor, action="reveal", target=target)
        return "Revealing needs the permission “Can reveal masked payload fields”. The attempt was recorded."
    if not reason:
        return "Nothing was revealed: give a reason, it is kept in the audit."
    record_revealed(actor=actor, target=target, reason=reason)
    return ""


def _detail_context(
    request: HttpRequest, detail: messages.MessageDetail | None, *, is_revealed: bool = False
) -> dict[str, Any]:
    if detail is None:
        return {"message": None}
    tab = request.GET.get("tab", "summary")
    actor = actor_of(request)
    # The deliveries renew themselves on every change: they must not fetch a large body each time.
    is_partial = request.headers.get("HX-Target") == "deliveries"
    shown = ShownBody() if is_partial else shown_body(detail, is_revealed=is_revealed)
    dead = [delivery for delivery in detail.deliveries if delivery.dead_letter_id and delivery.status == "dead"]
    return {
        "message": detail,
        "tab": tab if tab in dict(TABS) else "summary",
        "tabs": TABS,
        "counts": _counts(detail),
        "dead": dead,
        "is_busy": detail.status in _BUSY,
        "timeline": timeline_of(detail),
        "shown": shown,
        "is_masked": shown.is_masked,
        "is_revealed": is_revealed,
        "may_operate": actor.may("operate"),
        "may_reveal": actor.may(REVEAL),
        "headers": visible_headers(detail.headers, is_revealed=is_revealed),
        "records": audit.list_audit(target=f"message:{detail.id}").rows if tab == "audit" else (),
        "list_query": _list_query(request),
    }


def _list_query(request: HttpRequest) -> str:
    """Return the list's own parameters, so that a link of the drawer keeps them."""
    query = request.GET.copy()
    for name in ("message", "tab", "q"):
        query.pop(name, None)
    return query.urlencode()


def _counts(detail: messages.MessageDetail) -> str:
    """Return the deliveries in words: "2 handled, 1 dead-lettered"."""
    words = {"dead": "dead-lettered"}
    states = [delivery.status for delivery in detail.deliveries]
    order = [name for name in messages.STATUSES if name in states]
    return ", ".join(f"{states.count(name)} {words.get(name, name)}" for name in order)


urlpatterns = [
    path("messages", message_list, name="messages"),
    path("messages/<uuid:id>", message_page, name="message"),
    path("messages/<uuid:id>/body", message_body, name="message-body"),
]
