"""Every URL of the project."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

admin.autodiscover()

urlpatterns = [
    path("", include("console.health")),
    path("api/v1/", include("console.api.urls")),
    path("", include("console.ui.urls")),  # before what is asked for less: addresses are looked for in turn
    path("", include("console.api.otlp")),
    path("shop/", include("examples.ecommerce.urls")),
    path("clinic/", include("examples.appointments.urls")),
    path("bank/", include("examples.payments.views")),
    path("plant/", include("examples.telemetry.views")),
    path("lab/", include("examples.training.views")),
    path("admin/", admin.site.urls),
]

handler403 = "console.ui.errors.denied"
handler404 = "console.ui.errors.missing"
handler500 = "console.ui.errors.broken"
