from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from console.api.urls import interface
from console.throttling import failed_authentications
from messaging.models import Message
from messaging.subscriptions import synchronise
from tests import rows
from tests.api import PROBLEM, Api, event, order

pytestmark = pytest.mark.django_db

OPERATIONS = [
    operation["operationId"]
    for methods in interface.get_openapi_schema()["paths"].values()
    for operation in methods.values()
]

fuzzed = settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def schema() -> dict[str, Any]:
    found: dict[str, Any] = Client().get("/api/v1/openapi.json").json()
    return found


def endpoint(method: str, path: str) -> str:
    """Return an endpoint without its version and the names of its parameters."""
    return f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path.removeprefix('/api/v1'))}"


class TestOpenApi:
    def test_and_the_documentation_name_the_same_endpoints(self) -> None:
        described = {endpoint(method, path) for path, methods in schema()["paths"].items() for method in methods}
        documented = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`?]*)`", Path("docs/api.md").read_text())
        assert described == {endpoint(method, path) for method, path in documented}

    def test_is_valid(self) -> None:
        schemathesis.openapi.from_dict(schema()).validate()

    def test_says_which_problems_to_expect_and_in_what_form(self) -> None:
        for methods in schema()["paths"].values():
            for method, operation in methods.items():
                assert PROBLEM in operation["responses"]["401"]["content"]
                if method == "post":
                    assert any(each["name"] == "Idempotency-Key" for each in operation["parameters"])


class TestDocsPage:
    def test_loads_nothing_from_elsewhere(self) -> None:
        page = Client().get("/api/v1/docs")
        assert page.status_code == 200
        assert b"//" not in page.content.replace(b"<!--", b"")
        assert b"/static/ninja/swagger-ui-bundle.js" in page.content

    def test_sends_the_schema_to_no_validator(self) -> None:
        assert b'"validatorUrl": null' in Client().get("/api/v1/docs").content


@cache
def endpoints() -> dict[str, Any]:
    """Return what may be called, by operation. Read once: that takes longer than the calls."""
    loaded = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", WSGIHandler())
    found = (each.ok() for each in loaded.get_all_operations() if isinstance(each, Ok))
    return {each.definition.raw["operationId"]: each for each in found}


@pytest.fixture
def _open_connection() -> Iterator[None]:
    """Leave the test's connection open as Django's own test client does."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def api() -> Api:
    synchronise()
    for age in range(3):
        letter = rows.message(age=age, body=order(), version=2)
        rows.attempt(letter, rows.CHARGE, "dead_lettered")
        rows.dead_letter(letter, rows.CHARGE)
    rows.quarantined()
    return Api("read", "publish", "operate", "reveal")


def check(answer: Any) -> None:
    """Nothing a client sends may be our fault; what is refused says so in the one form."""
    assert answer.status_code < 500, answer.content
    if answer.status_code >= 400:
        assert answer["Content-Type"] == PROBLEM


class TestFuzz:
    @pytest.mark.usefixtures("_open_connection")
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_generated_requests_find_no_fault(self, api: Api, operation: str) -> None:
        @fuzzed
        @given(case=endpoints()[operation].as_strategy())
        def send(case: Any) -> None:
            failed_authentications.clear()  # each call is also tried with wrong tokens
            case.headers.update(api.headers)
            # The schema cannot say everything: contracts are the applications', NUL is refused everywhere.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        send()

    @fuzzed
    @given(
        raw=st.binary(max_size=300), content_type=st.sampled_from(["application/json", "application/cloudevents+json"])
    )
    def test_bytes_find_no_fault(self, api: Api, raw: bytes, content_type: str) -> None:
        check(api.post("/messages", raw, content_type=content_type))

    @fuzzed
    @given(changes=st.dictionaries(st.sampled_from([*event(), "key", "id", "correlation_id", "occurred_at"]), JSON))
    def test_values_find_no_fault(self, api: Api, changes: dict[str, Any]) -> None:
        check(api.post("/messages", json.dumps(event() | changes).encode()))

    @fuzzed
    @given(changes=st.dictionaries(st.sampled_from([*order(), "language"]), JSON))
    def test_data_finds_no_fault(self, api: Api, changes: dict[str, Any]) -> None:
        before = Message.objects.count()
        answer = api.post("/messages", json.dumps(event(data=order() | changes)).encode())
        check(answer)
        assert Message.objects.count() == before + (answer.status_code == 202)

    @fuzzed
    @given(
        query=st.dictionaries(st.sampled_from(["limit", "after", "status", "since", "until", "key", "type"]), st.text())
    )
    def test_filters_find_no_fault(self, api: Api, query: dict[str, str]) -> None:
        for path in ("/messages", "/dead-letters", "/quarantine", "/audit"):
            check(api.get(path, **{name: value.encode("utf-8", "replace") for name, value in query.items()}))
