"""Every page that is read is measured with 10 M messages, or is left out here by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

from django.urls import URLPattern, get_resolver, resolve

from benchmarks.addresses import ADDRESSES
from console.api.application import build

LEFT_OUT = {
    "favicon.ico": "a redirect to a file",
    "login": "reads nothing of the bus",
    "logout": "reads nothing of the bus",
    "components": "a page of examples, for development only",
    "sample-traffic": "two switches",
    "api/v1/dependencies/{name}": "one row of the list of them, and the history has none",
    "consumers/{name}/release-key": "asks before a blocked key is released; the API's list of them is measured",
}
_SAMPLES = {
    name: "01a1eef6-efee-7af2-9cee-c5cf0b15fe17" for each in ADDRESSES for name in re.findall(r"\{(\w+)\}", each.path)
}


def _console(patterns: Iterable[Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route, pattern.callback
        else:
            yield from _console(pattern.url_patterns, route)


def _is_read(view: Any) -> bool:
    methods = inspect.getclosurevars(view).nonlocals.get("request_method_list", ["GET"])
    return "GET" in methods


def _routes() -> set[str]:
    found = [resolve(each.path.format(**_SAMPLES).partition("?")[0]).route for each in ADDRESSES]
    return {_plain(route) for route in found}


def _plain(route: str) -> str:
    return re.sub(r"[<{](?:\w+:)?(\w+)[>}]", r"{\1}", route)


class TestAddresses:
    def test_have_every_page_of_the_console(self) -> None:
        resolver = get_resolver("console.ui.urls")
        pages = {_plain(route) for route, view in _console(resolver.url_patterns) if _is_read(view)}
        assert pages - set(LEFT_OUT) - _routes() == set()

    def test_have_every_page_of_the_api(self) -> None:
        paths = build().get_openapi_schema(path_prefix="/api/v1/")["paths"]
        read = {_plain(path.removeprefix("/")) for path, methods in paths.items() if "get" in methods}
        assert read - set(LEFT_OUT) - _routes() == set()

    def test_leave_nothing_out_twice(self) -> None:
        assert set(LEFT_OUT) & _routes() == set()

    def test_have_names_of_their_own(self) -> None:
        names = [each.name for each in ADDRESSES]
        assert sorted(set(names)) == sorted(names)
