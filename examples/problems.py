"""Problem documents (RFC 9457) for the HTTP faces of the examples."""

from __future__ import annotations

from http import HTTPStatus

from django.http import JsonResponse
from pydantic import ValidationError


def problem(status: int, detail: str, *, field: str = "") -> JsonResponse:
    """Return an answer that says what is wrong, and with which field."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status), "detail": detail}
    if field:
        body["field"] = field
    return JsonResponse(body, status=status, content_type="application/problem+json")


def invalid(error: ValidationError, what: str) -> JsonResponse:
    """Return 422 for the first field that is wrong, or 400 when the body is not ``what`` ("an order") at all."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    detail = f"{field}: {first['msg']}." if field else f"The body is not {what}: {first['msg']}."
    return problem(422 if field else HTTPStatus.BAD_REQUEST, detail, field=field)
