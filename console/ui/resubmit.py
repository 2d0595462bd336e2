"""Edit a dead letter's body and send the copy: checked while typing, refused when someone else was faster."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from django.contrib import messages as flash
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_http_methods

from console.actors import actor_of
from console.ui import actions
from console.ui.access import operator
from console.ui.bodies import SENSITIVE_HEADERS, is_masked, visible_body
from console.ui.json_text import difference, formatted
from messaging.errors import OperationRefused
from messaging.operations import ResubmitCheck, check_resubmission, resubmit_dead_letter
from messaging.queries import dead_letters
from messaging.queries.dead_letters import DeadLetterDetail

AUDIENCES = ("failed", "all")


@require_http_methods(["GET", "POST"])
@operator
def resubmit(request: HttpRequest, id: UUID) -> HttpResponse:
    """Show the editor; a POST checks the text, and with ``send`` publishes the copy."""
    found = dead_letters.get_dead_letter(id)
    if found is None:
        raise Http404("No such dead letter.")
    if found.blob:
        flash.warning(
            request,
            f"This body has {found.blob['bytes']:,} bytes and lies in the storage: too much for an editor. Nothing was"
            " changed. Replay it as it is, or send a corrected copy with POST /api/v1/dead-letters/{id}/resubmit.",
        )
        return HttpResponseRedirect(reverse("dead-letter", args=[id]))
    original = formatted(visible_body(found))
    if request.method == "GET":
        return _show(request, found, original=original, text=original)
    text = request.POST.get("body", "").replace("\r\n", "\n")
    if request.POST.get("do") == "format":
        return _show(request, found, original=original, text=formatted(text))
    if request.POST.get("do") != "send":
        is_partial = request.headers.get("HX-Target") == "check"
        return _show(request, found, original=original, text=text, template="_check" if is_partial else "resubmit")
    return _send(request, found, original=original, text=text)


def _send(request: HttpRequest, found: DeadLetterDetail, *, original: str, text: str) -> HttpResponse:
    audience = "all" if request.POST.get("audience") == "all" else "failed"
    reason = actions.reason_of(request)
    if not reason:
        return _show(request, found, original=original, text=text, refused="Give a reason; it is kept in the audit.")
    try:
        result = resubmit_dead_letter(
            id=found.id,
            body=text,
            actor=actor_of(request),
            reason=reason,
            audience=audience,  # type: ignore[arg-type]  # one of two, two lines above
            headers=_headers(request),
            request_id=actions.request_id(request),
        )
    except OperationRefused as refused:
        return _show(request, found, original=original, text=text, refused=str(refused))
    flash.success(request, "The copy was sent. The original is resolved when the copy is handled, not before.")
    return HttpResponseRedirect(reverse("message", args=[result.message_id]))


def _headers(request: HttpRequest) -> dict[str, str]:
    names, values = request.POST.getlist("header_name"), request.POST.getlist("header_value")
    pairs = zip(names[:100], values[:100], strict=False)
    return {name.strip()[:200]: value[:4000] for name, value in pairs if name.strip()}


def _show(
    request: HttpRequest,
    found: DeadLetterDetail,
    *,
    original: str,
    text: str,
    template: str = "resubmit",
    refused: str = "",
) -> HttpResponse:
    check = check_resubmission(id=found.id, body=text)
    changes = difference(original, text)
    free = _headers(request) if request.method == "POST" else _free(found)
    context: dict[str, Any] = {
        "dead_letter": found,
        "original": original,
        "text": text,
        "rows": min(40, max(8, text.count("\n") + 2)),
        "check": check,
        "hot_lines": ",".join(str(error.line) for error in check.errors if error.line),
        "problems": _problems(check),
        "difference": changes,
        "has_masked": is_masked(found),
        "is_same": changes.is_same,
        "free_headers": sorted(free.items()),
        "sensitive_headers": [name for name in found.headers if name.lower() in SENSITIVE_HEADERS],
        "refused": refused,
        "reason": request.POST.get("reason", ""),
        "audience": request.POST.get("audience", "failed"),
        "request_id": request.POST.get("request_id") or uuid4(),
    }
    status = 422 if refused else 200
    return render(request, f"dead_letters/{template}.html", context, status=status)


def _free(found: DeadLetterDetail) -> dict[str, str]:
    return {name: str(value) for name, value in found.headers.items() if name.lower() not in SENSITIVE_HEADERS}


def _problems(check: ResubmitCheck) -> str:
    """Return in words why the copy cannot be sent, empty when it can."""
    if not check.is_open:
        return f"The original is {check.resolved_by}. Nothing can be sent for it any more."
    if not check.errors:
        return ""
    line = check.errors[0].line
    return f"Correct the schema error{f' on line {line}' if line else ''} first."


urlpatterns = [path("dead-letters/one/<uuid:id>/resubmit", resubmit, name="resubmit")]
