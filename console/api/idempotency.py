"""The Idempotency-Key header: the same key and request get the first answer again."""

from __future__ import annotations

import re

from django.http import HttpRequest, HttpResponse

from console.api.authentication import actor_of
from console.api.problems import Problem
from messaging.operations import requests

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
_SHAPE = re.compile(r"[\x21-\x7e]{1,200}")

PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Repeating a request with the same key does nothing twice: it gets the first answer again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
}


def key_of(request: HttpRequest) -> str | None:
    """Return the request's idempotency key, if it has one.

    Raises:
        Problem: it cannot be one.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not _SHAPE.fullmatch(key):
        message = "Send 1 to 200 visible ASCII characters without spaces, for example a UUID."
        raise Problem(400, "bad_request", f"The {HEADER} header cannot be used: {message}", errors=[(HEADER, message)])
    return key


def request_id(request: HttpRequest, response: HttpResponse) -> str | None:
    """Return the key as the request id of an operation, and mark the answer when it was given before."""
    key = key_of(request)
    if key is not None and requests.was_answered(actor_name=requests.asker(actor_of(request)), request_id=key):
        response[REPLAYED] = "true"
    return key
