"""A stored body on its way out: masked unless its reader may see everything and says why."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from console.api.authentication import actor_of, require
from console.api.problems import Problem
from console.api.schemas import RevealQuery
from messaging import contracts
from messaging.operations.access import record_revealed


@dataclass(frozen=True, kw_only=True)
class BodyView:
    """``data`` when the body is JSON, else ``data_base64``."""

    data: Any = None
    data_base64: str | None = None
    is_masked: bool


def is_revealed(request: HttpRequest, query: RevealQuery, *, target: str) -> bool:
    """Say whether masked fields are shown, and write it into the audit when they are."""
    if not query.reveal:
        return False
    actor = actor_of(request)
    require(request, actor, "reveal")
    if actor.kind != "token":
        raise Problem(403, "forbidden", "A browser session reveals nothing here; use the console or a token.")
    if not query.reason:
        message = "Say why the masked fields are needed."
        raise Problem(422, "invalid", f"reason: {message}", errors=[("reason", message)])
    record_revealed(actor=actor, target=target, reason=query.reason)
    return True


def view(*, type: str, version: int, body: bytes, reveal: bool) -> BodyView:
    """Return the body as the API shows it."""
    shown = bytes(body) if reveal else contracts.mask(type, version, bytes(body))
    try:
        return BodyView(data=json.loads(shown), is_masked=not reveal)
    except (ValueError, RecursionError):
        return BodyView(data_base64=base64.b64encode(shown).decode(), is_masked=not reveal)
