"""The API as one object: routers, the strict parser, errors as problem details, OpenAPI."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from ninja import NinjaAPI, Swagger
from ninja.errors import HttpError, ValidationError

from console.api import (
    breakers,
    consumers,
    dead_letters,
    faults,
    flows,
    messages,
    overview,
    quarantine,
    replays,
    sagas,
    scheduled,
    traces,
)
from console.api.bodies import StrictParser
from console.api.problems import CONTENT_TYPE, ProblemDetails, respond

_PROBLEM = f"#/components/schemas/{ProblemDetails.__name__}"
_DESCRIPTION = """Publish, query, replay, pause. Authenticate with `Authorization: Bearer sb_...`;
every error is `application/problem+json`; every POST honours `Idempotency-Key`; lists continue with `?after=<next>`."""


class SignalboxAPI(NinjaAPI):
    """NinjaAPI, telling the media type of problems as it is, and making its schema once: that takes a second."""

    def __init__(self, **options: Any) -> None:
        self._schemas: dict[str, Any] = {}
        super().__init__(**options)

    def get_openapi_schema(self, *, path_prefix: str | None = None, path_params: Any = None) -> Any:
        prefix = self.get_root_path(path_params or {}) if path_prefix is None else path_prefix
        if prefix not in self._schemas:
            self._schemas[prefix] = self._schema(prefix)
        return self._schemas[prefix]

    def _schema(self, prefix: str) -> Any:
        schema = super().get_openapi_schema(path_prefix=prefix)
        for methods in schema["paths"].values():
            for operation in methods.values():
                for answer in operation["responses"].values():
                    content = answer.get("content", {})
                    if content.get("application/json", {}).get("schema", {}).get("$ref") == _PROBLEM:
                        answer["content"] = {CONTENT_TYPE: content["application/json"]}
        return schema


class Docs(Swagger):
    """Swagger with the files that come with Ninja, which would be fetched from elsewhere: it is no installed app."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        options = {**self.settings, "url": self.get_openapi_url(api, kwargs)}
        return render(request, "api/docs.html", {"title": api.title, "options": options})


def _respond(request: HttpRequest, error: Any) -> HttpResponse:
    return respond(request, error)


def build() -> NinjaAPI:
    api = SignalboxAPI(
        title="Signalbox",
        version="1",
        description=_DESCRIPTION,
        parser=StrictParser(),
        # The validator badge would send the schema to another host.
        docs=Docs(settings={"validatorUrl": None, "persistAuthorization": False}),
        urls_namespace="api",
    )
    for kind in (Exception, Http404, HttpError, ValidationError):
        api.add_exception_handler(kind, _respond)
    api.add_router("/messages", messages.router)
    api.add_router("/dead-letters", dead_letters.router)
    api.add_router("/quarantine", quarantine.router)
    api.add_router("/consumers", consumers.router)
    api.add_router("/dependencies", breakers.router)
    api.add_router("/sagas", sagas.router)
    api.add_router("/flows", flows.router)
    api.add_router("/faults", faults.router)
    api.add_router("/replays", replays.router)
    api.add_router("/traces", traces.router)
    api.add_router("", overview.router)
    api.add_router("", scheduled.router)
    return api
