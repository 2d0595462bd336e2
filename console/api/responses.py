"""What every endpoint may answer, for OpenAPI."""

from __future__ import annotations

from typing import Any

from console.api.problems import ProblemDetails

_READING = (400, 401, 403, 404, 422, 429, 503)
_CHANGING = (*_READING, 409, 413, 415)


def answers(success: dict[int, Any], *, changes: bool | None = None) -> dict[int, Any]:
    """Return the successful answers with the problems an endpoint of its kind may give."""
    is_change = changes if changes is not None else 202 in success
    return success | dict.fromkeys(_CHANGING if is_change else _READING, ProblemDetails)
