"""Every URL of the project."""

from __future__ import annotations

from importlib import import_module

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = []
for _prefix, _module in (
    ("", "console.health"),
    ("api/v1/", "console.api.urls"),
    ("shop/", "examples.ecommerce.urls"),
    ("", "console.ui.urls"),
):
    try:
        import_module(_module)
    except ImportError:  # written at the same time
        continue
    urlpatterns.append(path(_prefix, include(_module)))
urlpatterns.append(path("admin/", admin.site.urls))

handler403 = "console.ui.errors.denied"
handler404 = "console.ui.errors.missing"
handler500 = "console.ui.errors.broken"
