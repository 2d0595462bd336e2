"""A client of the REST API for tests: tokens by scope, orders that satisfy their contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.test import Client

from console import tokens

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Response

PROBLEM = "application/problem+json"


def order(**changes: Any) -> dict[str, Any]:
    """Return the data of an ecommerce.OrderPlaced v2."""
    return {
        "order_id": str(uuid4()),
        "customer_email": "ada@example.com",
        "card_token": "tok_visa",
        "items": [{"sku": "TEA-1", "quantity": 2, "unit_price": "4.50"}],
        "total": "9.00",
        "currency": "EUR",
    } | changes


def event(**changes: Any) -> dict[str, Any]:
    """Return a publishable message in the bus's own form."""
    return {"type": "ecommerce.OrderPlaced", "version": 2, "data": order()} | changes


class Api:
    """Speaks with a token of the given scopes; ``last`` is the answer to the last call."""

    def __init__(self, *scopes: str, name: str = "") -> None:
        self.client = Client(raise_request_exception=False)
        self.headers: dict[str, str] = {}
        if scopes:
            self.token, text = tokens.create(name=name or f"test-{uuid4()}", scopes=scopes)
            self.headers["Authorization"] = f"Bearer {text}"

    def get(self, path: str, **query: Any) -> Response:
        return self.client.get(f"/api/v1{path}", query, headers=self.headers)

    def post(self, path: str, body: Any = None, *, content_type: str = "application/json", **headers: str) -> Response:
        """Post JSON, or bytes as they are. Header names are written with underscores."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(f"/api/v1{path}", raw, content_type=content_type, headers=self.headers | named)


def problem(response: Response, status: int, *, field: str | None = None) -> dict[str, Any]:
    """Check that an answer is a problem as RFC 9457 has it, and return it."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == PROBLEM
    body: dict[str, Any] = json.loads(response.content)
    assert set(body) == {"type", "title", "status", "detail", "instance", "code", "errors"}
    assert body["status"] == status
    assert body["detail"]
    if field is not None:
        assert [error["field"] for error in body["errors"]] == [field], body
        assert body["errors"][0]["message"]
    return body
