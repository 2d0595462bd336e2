"""The console's pages. Each area lists its own URLs."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [
    path("", include("console.ui.shell")),
    path("", include("console.ui.components")),
    path("", include("console.ui.overview")),
    path("", include("console.ui.sample")),
    path("", include("console.ui.faults")),
    path("", include("console.ui.messages")),
    path("", include("console.ui.dead_letters")),
    path("", include("console.ui.resubmit")),
    path("", include("console.ui.quarantine")),
    path("", include("console.ui.consumers")),
    path("", include("console.ui.scheduled")),
    path("", include("console.ui.outbox")),
    path("", include("console.ui.replays")),
    path("", include("console.ui.sagas")),
    path("", include("console.ui.audit")),
    path("", include("console.ui.flow_kinds")),
    path("", include("console.ui.flows")),
    path("", include("console.ui.traces")),
]
