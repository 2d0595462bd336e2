"""What every endpoint may answer, for OpenAPI."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import ninja
from ninja.operation import Operation
from ninja.utils import contribute_operation_callback

from console.api.problems import ProblemDetails

_READING = (400, 401, 403, 404, 422, 429, 503)
_CHANGING = (*_READING, 409, 413, 415)


def answers(success: dict[int, Any], *, changes: bool | None = None) -> dict[int, Any]:
    """Return the successful answers with the problems an endpoint of its kind may give."""
    is_change = changes if changes is not None else 202 in success
    return success | dict.fromkeys(_CHANGING if is_change else _READING, ProblemDetails)


class _Problem(ninja.Schema):
    response: ProblemDetails

    @classmethod
    def model_json_schema(cls, **options: Any) -> dict[str, Any]:  # type: ignore[override]  # Ninja names each
        """Describe it once: each status of each endpoint asks for it, which was most of the second that takes."""
        return deepcopy(_described(**options))


@cache
def _described(**options: Any) -> dict[str, Any]:
    return super(_Problem, _Problem).model_json_schema(**options)


class Router(ninja.Router):
    """Ninja's, with one model for all problems: Ninja makes one for each status of each endpoint.

    That was a quarter of what it took to start a web process.
    """

    def add_api_operation(  # type: ignore[override]  # each endpoint here says what it answers
        self, path: str, methods: list[str], view_func: Callable[..., Any], *, response: dict[int, Any], **options: Any
    ) -> None:
        succeeded = {status: model for status, model in response.items() if model is not ProblemDetails}
        failed = dict.fromkeys(response.keys() - succeeded.keys(), _Problem)

        def add_problems(operation: Operation) -> None:
            operation.response_models |= {status: failed[status] for status in response if status in failed}

        contribute_operation_callback(view_func, add_problems)
        super().add_api_operation(path, methods, view_func, response=succeeded, **options)
