"""Problem documents (RFC 9457) for the HTTP faces of the examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from http import HTTPStatus

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from pydantic import ValidationError

View = Callable[..., HttpResponse]
Refusals = Mapping[type[Exception], Callable[[Exception], HttpResponse]]
"""What the domain raises, and how that is answered."""


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


def taking(what: str, refusals: Refusals | None = None) -> Callable[[View], View]:
    """Turn what a view raises into a problem document: about its body, ``what`` ("an order"), and ``refusals``."""
    known = refusals or {}

    def wrap(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
            try:
                return view(request, *args, **kwargs)
            except RequestDataTooBig:
                return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.")
            except ValidationError as error:
                return invalid(error, what)
            except tuple(known) as error:
                return next(answer for kind, answer in known.items() if isinstance(error, kind))(error)

        return answer

    return wrap
