"""The Idempotency-Key header: the same key and request get the first answer again."""

from __future__ import annotations

import re

from django.http import HttpRequest

from console.api.problems import Problem

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


def request_id(request: HttpRequest) -> str | None:
    """Return the request's key, if it has one: the request id of the operation that it asks for.

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
