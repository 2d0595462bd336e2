"""Who may see a page and who may act on it. Every view of the console is wrapped in ``viewer`` or ``operator``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse

from console import permissions
from console.permissions import CODENAMES
from console.ui.shared import board
from messaging.operations import OPERATE, PUBLISH, VIEW, Actor
from messaging.operations.access import record_denied
from messaging.queries.shared import sharing

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


def actor(request: HttpRequest) -> Actor:
    """Return the signed-in person as the guarded operations know them."""
    user = cast(User, request.user)
    held = {permission for permission, codename in CODENAMES.items() if user.has_perm(codename)}
    if OPERATE in held:
        held.add(PUBLISH)
    return Actor(
        name=user.get_username(),
        kind="user",
        permissions=frozenset(held),
        address=str(request.META.get("REMOTE_ADDR") or ""),
    )


def may_view(user: AbstractBaseUser | AnonymousUser) -> bool:
    return user.is_authenticated and cast(User, user).is_active and cast(User, user).has_perm(CODENAMES[VIEW])


def may_operate(request: HttpRequest) -> bool:
    return cast(User, request.user).has_perm(CODENAMES[OPERATE])


def _needs(codename: str) -> Callable[[View], View]:
    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            user = cast(User, request.user)
            if not user.is_authenticated:
                return _to_login(request)
            permissions.read_once(user)
            if not user.has_perm(codename):
                record_denied(actor=actor(request), action=f"page.{str(request.method).lower()}", target=request.path)
                raise PermissionDenied(codename)
            if request.method == "GET":
                with sharing():
                    return view(request, *args, **kwargs)
            try:
                return view(request, *args, **kwargs)
            finally:
                board.wipe()  # who changed something is to see it

        return cast(View, guarded)

    return decorate


def _to_login(request: HttpRequest) -> HttpResponseBase:
    if request.headers.get("HX-Request"):
        # A redirect would put the login page into the swapped element.
        response = HttpResponse(status=401)
        response["HX-Redirect"] = reverse("login")
        return response
    return redirect_to_login(request.get_full_path())


viewer = _needs(CODENAMES[VIEW])
"""Let in who may see the console; others get the login page or a 403."""

operator = _needs(CODENAMES[OPERATE])
"""Let in who may change delivery."""
