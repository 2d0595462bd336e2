"""The banner's button that ends an injected fault."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.http import require_POST

from console.actors import actor_of
from console.permissions import CODENAMES
from console.ui import kept
from console.ui.access import viewer
from messaging import operations
from messaging.errors import OperationRefused
from messaging.operations import OPERATE


@require_POST
@viewer  # the operation itself asks for the permission to operate, and audits a denial
def end(request: HttpRequest) -> HttpResponse:
    """End what is injected for one consumer."""
    consumer = request.POST.get("consumer", "")
    try:
        ended = operations.end_faults(consumer=consumer, actor=actor_of(request))
    except OperationRefused as refusal:
        if refusal.code == "forbidden":
            raise PermissionDenied(CODENAMES[OPERATE]) from refusal
        messages.error(request, str(refusal))
    else:
        whose = "every consumer" if consumer == "*" else consumer
        messages.success(request, f"Faults for {whose} are ended." if ended else "They had ended already.")
    kept.shell.forget()
    return redirect("overview")


urlpatterns = [path("faults/end", end, name="faults-end")]
