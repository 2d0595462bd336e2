"""Pages for what went wrong: what happened, what was not changed, what to do."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

log = logging.getLogger(__name__)


def denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    log.warning("denied: %s %s to %s", request.method, request.path, request.user)
    return render(request, "errors/403.html", {"needed": str(exception or "")}, status=403)


def missing(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "errors/404.html", status=404)


def broken(request: HttpRequest) -> HttpResponse:
    """Answer without the database: it may be what is broken."""
    return render(request, "errors/500.html", status=500)
