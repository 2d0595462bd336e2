"""The gate of every endpoint: who, with which scope, and only then the body."""

from __future__ import annotations

from django.http import HttpRequest
from ninja.security.base import AuthBase

from console import tokens
from console.api import bodies
from console.api.problems import Problem, unauthorized
from console.identity import NotIdentified, identify
from messaging.operations import Actor
from messaging.operations.access import record_denied


class Bearer(AuthBase):
    """Lets in who has ``scope``; puts the sender into ``request.auth``."""

    openapi_type = "http"
    openapi_scheme = "bearer"
    openapi_description = "A token with the endpoint's scope: `manage.py tokens create --name N --scopes read,publish`"

    def __init__(
        self, scope: tokens.Scope, *, accepts: tuple[str, ...] = (bodies.JSON,), limit: int | None = None
    ) -> None:
        super().__init__()
        self.scope = scope
        self.accepts = accepts
        self.limit = limit

    def __call__(self, request: HttpRequest) -> Actor:
        _refuse_nul(request)
        try:
            actor = identify(request)
        except NotIdentified as error:
            raise _problem(error) from error
        require(request, actor, self.scope)
        # After the gate: a stranger's body is not decompressed.
        if request.method == "POST":
            bodies.prepare(request, accepts=self.accepts, limit=self.limit)
        return actor


def require(request: HttpRequest, actor: Actor, scope: tokens.Scope) -> None:
    """Refuse, and write into the audit, an actor without a scope."""
    if actor.may(tokens.PERMISSION_OF_SCOPE[scope]):
        return
    record_denied(actor=actor, action=f"api.{scope}", target=f"{request.method} {request.path}")
    raise Problem(403, "forbidden", f"This needs the scope {scope}.")


def actor_of(request: HttpRequest) -> Actor:
    """Return the sender whom the gate let in."""
    actor = request.auth  # type: ignore[attr-defined]
    assert isinstance(actor, Actor)
    return actor


def _problem(error: NotIdentified) -> Problem:
    if error.wait_seconds is None:
        return unauthorized(str(error))
    return Problem(429, "too_many_failures", str(error), headers={"Retry-After": str(error.wait_seconds)})


def _refuse_nul(request: HttpRequest) -> None:
    # PostgreSQL refuses NUL in any text, SQLite takes it: neither is asked.
    for name, value in request.GET.items():
        if "\x00" in name or "\x00" in value:
            raise Problem(400, "bad_request", "A query parameter contains NUL.", errors=[(name, "Contains NUL.")])
    if "\x00" in request.path:
        raise Problem(400, "bad_request", "The path contains NUL.")
