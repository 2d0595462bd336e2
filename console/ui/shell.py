"""The frame around every page, signing in and out."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.contrib.auth import views as auth_views
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.urls import path
from django.views.decorators.http import require_GET

from console.ui.access import viewer
from console.ui.shared import shared


@require_GET
@viewer
@shared("vitals")
def shell(request: HttpRequest) -> HttpResponse:
    """Return the status strip with the rail's counts and the banners, each swapped to its own place."""
    return render(request, "components/shell.html", {"is_partial": True})


@require_GET
def favicon(request: HttpRequest) -> HttpResponse:
    """Serve browsers that ask for the usual name on pages that name no icon."""
    return redirect(static("mark.svg"))


class LoginView(auth_views.LoginView):
    """Signing in; whoever is signed in already is sent on."""

    template_name = "registration/login.html"
    redirect_authenticated_user = True

    def get_redirect_url(self) -> str:  # type: ignore[override]  # the stubs follow a later Django
        wanted = super().get_redirect_url()
        return "" if urlsplit(wanted).path == self.request.path else wanted  # or it would lead here again


urlpatterns = [
    path("shell", shell, name="shell"),
    path("favicon.ico", favicon),
    path("login", LoginView.as_view(), name="login"),
    path("logout", auth_views.LogoutView.as_view(), name="logout"),
]
