"""Errors as RFC 9457 problem details: every answer from 400 on has this shape."""

from __future__ import annotations

import json
import logging
from functools import reduce
from http import HTTPStatus
from typing import Any

from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from ninja import Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError

from messaging.contracts.strict_json import path_of
from messaging.errors import (
    Backlogged,
    BodyUnavailable,
    ContractError,
    OperationRefused,
    StorageUnavailable,
    Undecodable,
    UnknownContract,
)
from messaging.incoming import TooLarge, UnknownField, UnsupportedContentType
from messaging.ingest import IdConflict

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
_STATUS_OF_REFUSAL = {"forbidden": 403, "not_found": 404, "invalid": 422, "request_id_reused": 422}
_RETRY_AFTER_SECONDS = 2


class FieldProblem(Schema):
    field: str
    message: str


class ProblemDetails(Schema):
    """What went wrong, for people (`detail`) and for programs (`code`, `errors`)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[FieldProblem]


class Problem(Exception):
    """An answer that is an error. ``errors`` pairs a field's path with what is wrong with it."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[tuple[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors or []
        self.headers = headers or {}


def respond(request: HttpRequest, error: Exception) -> HttpResponse:
    """Answer any exception; what nobody foresaw is logged and told as 500 without its text."""
    problem = problem_of(error)
    body = {
        "type": f"urn:signalbox:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.path,
        "code": problem.code,
        "errors": [{"field": field, "message": message} for field, message in problem.errors],
    }
    response = HttpResponse(json.dumps(body), status=problem.status, content_type=CONTENT_TYPE)
    for name, value in problem.headers.items():
        response[name] = value
    return response


def problem_of(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case OperationRefused():
            status = _STATUS_OF_REFUSAL.get(error.code, 409)
            return Problem(status, error.code, str(error), errors=_blame(error.field, error))
        case Undecodable():
            return Problem(400, "undecodable", str(error), errors=_blame(error.field, error))
        case IdConflict():
            return Problem(409, "conflict", str(error), errors=_blame(error.field, error))
        case UnknownField():
            return Problem(400, "unknown_field", str(error), errors=_blame(error.field, error))
        case UnsupportedContentType():
            return Problem(415, "unsupported_media_type", str(error), errors=[("Content-Type", str(error))])
        case TooLarge():
            return Problem(413, "too_large", str(error))
        case UnknownContract():
            return Problem(422, "unknown_contract", str(error), errors=_blame(error.field, error))
        case ContractError():
            return Problem(422, "contract", str(error), errors=_blame(error.field, error))
        case Backlogged() | BodyUnavailable() | StorageUnavailable():
            return _unavailable(error)
        case ValidationError():
            return _invalid(error.errors)
        case _:
            return _from_framework(error)


def _unavailable(error: Backlogged | BodyUnavailable | StorageUnavailable) -> Problem:
    if isinstance(error, Backlogged):
        return Problem(429, "backlogged", str(error), headers={"Retry-After": str(error.retry_after)})
    if isinstance(error, BodyUnavailable):
        return Problem(410, "body_unavailable", str(error))
    headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
    return Problem(503, "unavailable", "The storage of large bodies does not answer.", headers=headers)


def unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="signalbox"'})


def not_found(what: str) -> Problem:
    return Problem(404, "not_found", f"There is no {what}.")


def too_large(limit: int) -> Problem:
    return Problem(413, "too_large", f"The body is larger than {limit} bytes (counted after decompression).")


def _blame(field: str, error: Exception) -> list[tuple[str, str]]:
    return [(field, str(error))] if field else []


def _from_framework(error: Exception) -> Problem:
    match error:
        case AuthenticationError():
            return unauthorized("Send a token: Authorization: Bearer sb_...")
        case HttpError() if isinstance(error.__cause__, (Problem, ContractError)):
            return problem_of(error.__cause__)
        case HttpError():
            return Problem(error.status_code, "refused", str(error))
        case Http404():
            return not_found("resource at this address")
        case RequestDataTooBig():
            return Problem(413, "too_large", "The body is too large.")
        case UnreadablePostError() | BadRequest() | SuspiciousOperation():
            return Problem(400, "bad_request", "The request could not be read completely.")
        case DataError():
            log.warning("The database refused a value of a request.", exc_info=error)
            return Problem(422, "invalid", "A value of the request is out of the range that can be stored.")
        case OperationalError() | InterfaceError():
            log.error("The database is not available.", exc_info=error)
            retry = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
            return Problem(503, "unavailable", "The database is busy or not reachable; try again.", headers=retry)
        case _:
            log.error("A request failed.", exc_info=error)
            return Problem(500, "internal", "Something failed here; it has been logged.")


def _invalid(violations: list[dict[str, Any]]) -> Problem:
    """Tell a field that nobody knows (400) from a value that is wrong (422)."""
    errors = [
        (_path(violation["loc"]), str(violation["msg"]).removeprefix("Value error, ")) for violation in violations
    ]
    if errors[0][0] == "":
        return Problem(400, "undecodable", "Send a JSON object as the body.")
    unknown = [
        (field, "This field is unknown; remove it.")
        for (field, _), violation in zip(errors, violations, strict=True)
        if violation["type"] == "extra_forbidden"
    ]
    if unknown:
        return Problem(400, "unknown_field", f"Unknown field: {unknown[0][0]}.", errors=unknown)
    field, message = errors[0]
    return Problem(422, "invalid", f"{field}: {message}.", errors=errors)


def _path(location: tuple[str | int, ...]) -> str:
    source, *steps = location
    # A body's location begins with the name of the view's parameter, which no client knows.
    return reduce(path_of, steps[1:] if source == "body" else steps, "")
