"""Mounted at /api/v1/. Whatever django-ninja answers outside its endpoints becomes a problem too."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, re_path
from django.views.decorators.csrf import csrf_exempt

from console.api.application import build
from console.api.idempotency import REPLAYED
from console.api.problems import Problem, not_found, respond
from messaging.operations import requests

View = Callable[..., HttpResponseBase]
interface = build()


def _completed(view: View) -> View:
    """Mark answers given before; turn a bare "405 Method Not Allowed", and the root's missing page, into problems."""

    @wraps(view)
    def shaped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with requests.watch() as is_replayed:
            try:
                response = view(request, *args, **kwargs)
            except Http404 as error:
                return respond(request, error)
            if is_replayed():
                response[REPLAYED] = "true"
        if response.status_code != 405:
            return response
        allowed = response.headers.get("Allow", "")
        detail = f"{request.method} is not possible here; use {allowed}."
        return respond(request, Problem(405, "method_not_allowed", detail, headers={"Allow": allowed}))

    return csrf_exempt(shaped)


@csrf_exempt
def _nothing_here(request: HttpRequest) -> HttpResponse:
    return respond(request, not_found("resource at this address"))


def _patterns() -> list[URLPattern | URLResolver]:
    patterns: list[URLPattern | URLResolver] = list(interface.urls[0])
    for pattern in patterns:
        if isinstance(pattern, URLPattern) and pattern.name != "openapi-view":
            pattern.callback = _completed(pattern.callback)
    return [*patterns, re_path(r"", _nothing_here)]


app_name = "api"
urlpatterns = _patterns()
