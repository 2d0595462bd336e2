"""Who sent a request: a bearer token, or, for reading only, a signed-in person."""

from __future__ import annotations

import math

from django.http import HttpRequest

from console import permissions, tokens
from console.throttling import failed_authentications
from messaging.operations import Actor

_SAFE = {"GET", "HEAD"}


class NotIdentified(Exception):
    """No valid token and no session. ``wait_seconds`` is set when this address failed too often."""

    def __init__(self, message: str, *, wait_seconds: int | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


def identify(request: HttpRequest) -> Actor:
    """Return the sender of a request.

    A cookie never changes anything here: it would let another site act through an operator's browser.

    Raises:
        NotIdentified: nobody known, with the reason.
    """
    header = request.headers.get("Authorization")
    if header is not None:
        return _by_token(header, address_of(request))
    if not request.user.is_authenticated:
        raise NotIdentified("Send a token: Authorization: Bearer sb_... (manage.py tokens create makes one).")
    if request.method not in _SAFE:
        raise NotIdentified("A browser session may only read here; send a token to change anything.")
    permissions.read_once(request.user)
    granted = frozenset(mine for mine, name in permissions.CODENAMES.items() if request.user.has_perm(name))
    return Actor(name=request.user.get_username(), kind="user", permissions=granted, address=address_of(request))


def address_of(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR", ""))[:64]


def _by_token(header: str, address: str) -> Actor:
    scheme, _, text = header.partition(" ")
    token = tokens.authenticate(text.strip()) if scheme.lower() == "bearer" else None
    if token is not None:
        return tokens.actor_of(token, address=address)
    # Only failures are counted and delayed: a neighbour behind the same proxy with a valid token is let in.
    wait = failed_authentications.add(address)
    if wait is not None:
        raise NotIdentified("Too many failed authentications from this address.", wait_seconds=math.ceil(wait))
    raise NotIdentified("The token is unknown, expired or revoked.")
