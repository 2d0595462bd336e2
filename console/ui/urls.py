"""The console's pages. Each area lists its own URLs."""

from __future__ import annotations

from importlib import import_module

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, URLResolver, include, path

_AREAS = (
    "shell", "components", "overview", "messages", "dead_letters", "resubmit", "quarantine", "consumers", "audit", "sample"
)  # fmt: skip

urlpatterns: list[URLPattern | URLResolver] = []
_here: set[str] = set()
for _area in _AREAS:
    try:
        _found = import_module(f"console.ui.{_area}").urlpatterns
    except (ImportError, AttributeError):  # written at the same time
        continue
    urlpatterns.append(path("", include(f"console.ui.{_area}")))
    _here.update(p.name or "" for p in _found)


def _unwritten(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return render(request, "base.html")


# Until every area is written, so that links resolve.
for _name, _route in {
    "overview": "", "messages": "messages", "message": "messages/<uuid:id>", "dead-letters": "dead-letters",
    "dead-letter-group": "dead-letters/<str:fingerprint>", "dead-letter": "dead-letters/one/<uuid:id>",
    "resubmit": "dead-letters/one/<uuid:id>/resubmit", "quarantine": "quarantine",
    "quarantined": "quarantine/<uuid:id>", "consumers": "consumers", "consumer": "consumers/<str:name>",
    "audit": "audit",
}.items():  # fmt: skip
    if _name not in _here:
        urlpatterns.append(path(_route, _unwritten, name=_name))
