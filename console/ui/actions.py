"""Operators' actions from forms: a guarded operation is called, its answer is told in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

from django.contrib import messages as flash
from django.http import HttpRequest, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme

from console.ui import context
from messaging.errors import OperationRefused
from messaging.operations import BulkResult

CAP = 500
"""Rows of one action; a bulk engine takes more in a later version."""


def ids_of(request: HttpRequest) -> list[UUID]:
    """Return the chosen ids without repetition; what is no id is left out."""
    found: dict[UUID, None] = {}
    for text in request.POST.getlist("ids")[: CAP * 2]:
        try:
            found[UUID(text)] = None
        except ValueError:
            continue
    return list(found)[:CAP]


def next_url(request: HttpRequest, fallback: str) -> str:
    """Return where the form came from, if that is this console."""
    asked = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(asked, allowed_hosts={request.get_host()})
    return asked if asked.startswith("/") and is_ours else fallback


def request_id(request: HttpRequest) -> str:
    """Return the form's own id, so that sending it twice acts once."""
    return request.POST.get("request_id", "")[:200] or str(uuid4())


def reason_of(request: HttpRequest) -> str:
    return request.POST.get("reason", "").strip()[:1000]


def carry_out(
    request: HttpRequest, act: Callable[..., BulkResult], *, ids: Sequence[UUID], done: str, **given: Any
) -> BulkResult | None:
    """Call a bulk operation and tell its answer; None when it was refused as a whole.

    ``done`` is the sentence of success with a place for the number: "{} sent again".
    """
    try:
        result = act(ids=ids, **given)
    except OperationRefused as refused:
        flash.error(request, f"{refused} Nothing was changed.")
        return None
    finally:
        context.forget()
    if result.done:
        flash.success(request, done.format(f"{len(result.done):,}"))
    if result.refused:
        whys = list(dict.fromkeys(refusal.why for refusal in result.refused))
        flash.warning(request, f"{len(result.refused):,} left as they were: {'; '.join(whys[:3])}.")
    if not result.done and not result.refused:
        flash.warning(request, "Nothing was chosen, so nothing was changed.")
    return result


def back(request: HttpRequest, fallback: str) -> HttpResponseRedirect:
    return HttpResponseRedirect(next_url(request, fallback))
