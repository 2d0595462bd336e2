"""What failed for good: groups, one group, and the actions that repair it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST

from console.actors import actor_of
from console.ui import actions
from console.ui.access import may_operate, operator, viewer
from console.ui.bodies import shown_body
from console.ui.search import cursor
from console.ui.shared import shared
from messaging import clock
from messaging.operations import discard_dead_letters, replay_dead_letters
from messaging.queries import audit, dead_letters, lanes, messages
from messaging.queries.dead_letters import DeadLetterFilter

PAGE = 50
UNRESOLVED = {"open", "replaying", "resubmitting"}
STATES = (("", "Unresolved"), ("resolved", "Resolved"), ("discarded", "Discarded"))


@require_GET
@viewer
@shared("groups")
def groups(request: HttpRequest) -> HttpResponse:
    """Show the groups of failures, largest first."""
    found = dead_letters.failure_groups()
    total = dead_letters.count_dead_letters(DeadLetterFilter())
    context = {"groups": found, "total": total, "as_of": clock.now()}
    is_partial = request.headers.get("HX-Target") == "groups"
    return render(request, "dead_letters/_groups.html" if is_partial else "dead_letters/groups.html", context)


@require_GET
@viewer
@shared("rows", "newer", "figures")
def group(request: HttpRequest, fingerprint: str) -> HttpResponse:
    """Show one group; ``than=`` answers with the pill, ``sent=`` follows a replay."""
    state = request.GET.get("state", "")
    where = DeadLetterFilter(fingerprint=fingerprint, state=state if state in dict(STATES) else "")
    if (top := cursor(request.GET, "than")) is not None:
        newer = dead_letters.count_newer_dead_letters(where, than=top)
        return render(request, "dead_letters/_newer.html", {"newer": newer, "top": top})
    if kept := request.GET.get("rows"):
        again = {"page": {"rows": dead_letters.dead_letter_rows(_ids(kept))}, "state": where.state}
        return render(request, "dead_letters/_rows.html", {**again, **_shown(request, fingerprint)})
    context = {**_shown(request, fingerprint), **_progress(request)}
    if request.headers.get("HX-Target") == "progress":
        return render(request, "dead_letters/_progress.html", context)
    found = dead_letters.get_failure_group(fingerprint)
    context |= {"group": found, "as_of": clock.now(), "CAP": actions.CAP}
    if request.headers.get("HX-Target") == "figures":
        return render(request, "dead_letters/_figures.html", context)
    page = dead_letters.list_dead_letters(
        where, limit=PAGE, after=cursor(request.GET, "after"), before=cursor(request.GET, "before")
    )
    sample = _sample(found, page.rows, fingerprint)
    return render(
        request,
        "dead_letters/group.html",
        {
            **context,
            "page": page,
            "top": page.rows[0].id if page.rows else None,
            "sample": sample,
            "state": where.state,
            "states": STATES,
            "open_count": found.count - found.replaying if found else 0,
        },
    )


def _shown(request: HttpRequest, fingerprint: str) -> dict[str, Any]:
    return {"fingerprint": fingerprint, "may_operate": may_operate(request)}


def _ids(text: str) -> list[UUID]:
    """Read the ids of the rows on screen; what is no id is left out."""
    found = []
    for part in text.split(",")[: PAGE * 2]:
        with suppress(ValueError):
            found.append(UUID(part))
    return found


def _sample(
    found: dead_letters.FailureGroup | None, rows: tuple[dead_letters.DeadLetterRow, ...], fingerprint: str
) -> dead_letters.DeadLetterDetail:
    """Return the newest member; a group whose members are all resolved still has its page."""
    newest = found.newest_id if found else rows[0].id if rows else None
    for state in ("resolved", "discarded"):
        if newest is None:
            past = dead_letters.list_dead_letters(DeadLetterFilter(fingerprint=fingerprint, state=state), limit=1)
            newest = past.rows[0].id if past.rows else None
    sample = dead_letters.get_dead_letter(newest) if newest else None
    if sample is None:
        raise Http404("No dead letter has this fingerprint.")
    return sample


def _progress(request: HttpRequest) -> dict[str, Any]:
    """Return what became of the replay that this browser sent, if the URL names one."""
    sent = request.GET.get("sent", "")
    kept = request.session.get(f"sent:{sent}") if sent else None
    if not kept:
        return {"progress": None, "sent": ""}
    progress = dead_letters.progress_of([UUID(text) for text in kept["ids"]])
    sent_at = datetime.fromisoformat(kept["at"])
    return {"progress": progress, "sent": sent, "sent_at": sent_at, "sent_reason": kept["reason"]}


@require_GET
@viewer
def dead_letter(request: HttpRequest, id: UUID) -> HttpResponse:
    """Show one dead letter with what was decided about it."""
    found = dead_letters.get_dead_letter(id)
    if found is None:
        raise Http404("No such dead letter.")
    copy = messages.get_message(found.copy_id) if found.copy_id else None
    return render(
        request,
        "dead_letters/one.html",
        {
            "dead_letter": found,
            "is_unresolved": found.state in UNRESOLVED,
            "is_open": found.state == "open",
            "copy": copy,
            "shown": shown_body(found),
            "records": audit.list_audit(target=f"dead_letter:{id}").rows,
            "may_operate": may_operate(request),
        },
    )


@require_POST
@operator
def confirm(request: HttpRequest) -> HttpResponse:
    """Freeze a selection and show what an action on it would do; nothing is changed."""
    fingerprint = request.POST.get("fingerprint", "")[:64]
    whole = request.POST.get("scope") == "group" and bool(fingerprint)
    ids = actions.ids_of(request)
    total = None
    if whole:
        where = DeadLetterFilter(fingerprint=fingerprint, state="open")
        ids = dead_letters.dead_letter_ids(where, limit=actions.CAP)
        total = dead_letters.count_dead_letters(where)
    states = dead_letters.states_of(ids)
    eligible = [id for id in ids if states.get(id, ("", ""))[0] == "open"]
    context = {
        "action": "discard" if request.POST.get("action") == "discard" else "replay",
        "ids": eligible,
        "left_out": _left_out(ids, states),
        "consumers": dead_letters.consumers_of(eligible),
        "overtaken": lanes.overtaken(eligible),
        "fingerprint": fingerprint,
        "is_whole": whole,
        "total": total,
        "is_cut": bool(total and total.value > len(eligible)),
        "frozen_at": clock.now(),
        "next": actions.next_url(request, reverse("dead-letters")),
        "request_id": uuid4(),
        "CAP": actions.CAP,
    }
    is_partial = request.headers.get("HX-Request")
    return render(request, "dead_letters/_confirm.html" if is_partial else "dead_letters/confirm.html", context)


def _left_out(ids: list[UUID], states: dict[UUID, tuple[str, str]]) -> list[str]:
    """Return why some of the chosen cannot be acted on, counted: "12 resolved by ben"."""
    reasons: dict[str, int] = {}
    for id in ids:
        state, by = states.get(id, ("gone", ""))
        if state != "open":
            words = f"{state} by {by}" if by else {"replaying": "already being replayed"}.get(state, state)
            reasons[words] = reasons.get(words, 0) + 1
    return [f"{count:,} {words}" for words, count in reasons.items()]


@require_POST
@operator
def act(request: HttpRequest) -> HttpResponse:
    """Replay or discard the frozen selection; each row is checked again where it is changed."""
    is_discard = request.POST.get("action") == "discard"
    ids, key, reason = actions.ids_of(request), actions.request_id(request), actions.reason_of(request)
    result = actions.carry_out(
        request,
        discard_dead_letters if is_discard else replay_dead_letters,
        ids=ids,
        done="{} discarded." if is_discard else "{} sent again. Sent is not handled: watch what becomes of them.",
        actor=actor_of(request),
        reason=reason,
        request_id=key,
    )
    fingerprint = request.POST.get("fingerprint", "")[:64]
    if result and result.done and not is_discard and fingerprint:
        request.session[f"sent:{key}"] = {
            "ids": [str(id) for id in result.done], "at": clock.now().isoformat(), "reason": reason,
        }  # fmt: skip
        return HttpResponseRedirect(f"{reverse('dead-letter-group', args=[fingerprint])}?sent={key}")
    return actions.back(request, reverse("dead-letters"))


urlpatterns = [
    path("dead-letters", groups, name="dead-letters"),
    path("dead-letters/confirm", confirm, name="dead-letters-confirm"),
    path("dead-letters/act", act, name="dead-letters-act"),
    path("dead-letters/one/<uuid:id>", dead_letter, name="dead-letter"),
    path("dead-letters/<str:fingerprint>", group, name="dead-letter-group"),
]
