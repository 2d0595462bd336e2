"""What every response carries: a content security policy, and a correlation id that the whole request shares."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBadRequest, HttpResponseBase

from messaging.tracing import CARRIED, use_correlation, use_trace

GetResponse = Callable[[HttpRequest], HttpResponseBase]

CORRELATION_HEADER = "X-Correlation-ID"
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]+")
LONGEST_CORRELATION = 200

_LOOSE = ("/admin/", "/api/v1/docs")
"""Unfold (Alpine) and the API's documentation page bring inline styles and eval; nothing of ours does."""


class ContentSecurityPolicy:
    """Allow only own files, and inline scripts that carry this response's nonce."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        nonce = secrets.token_urlsafe(16)
        request.csp_nonce = nonce  # type: ignore[attr-defined]
        response = self.get_response(request)
        if "Content-Security-Policy" not in response:
            loose = request.path_info.startswith(_LOOSE)
            response["Content-Security-Policy"] = policy(nonce, loose=loose)
        return response


def policy(nonce: str, *, loose: bool = False) -> str:
    script = "'self' 'unsafe-inline' 'unsafe-eval'" if loose else f"'self' 'nonce-{nonce}'"
    style = "'self' 'unsafe-inline'" if loose else f"'self' 'nonce-{nonce}'"
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


class NoNulInAdmin:
    """Refuse addresses of the admin site that hold NUL: it hands them to the database, and PostgreSQL takes none.

    The search, ``q``, looks for nothing then and says so.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith("/admin/"):
            given = [request.path_info, *(text for pair in request.GET.items() if pair[0] != "q" for text in pair)]
            if any("\x00" in text for text in given):
                return HttpResponseBadRequest("The address contains NUL. Remove it.", content_type="text/plain")
        return self.get_response(request)


class NoStore:
    """Keep pages and answers out of every cache: they hold payloads, also after signing out."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response


class Correlation:
    """Give each request a correlation id: the caller's, made safe, or a new one; keep the trace it came with.

    Messages published while it is served carry both.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        correlation = clean(request.headers.get(CORRELATION_HEADER, "")) or str(uuid.uuid4())
        request.correlation_id = correlation  # type: ignore[attr-defined]
        carried = {name: request.headers.get(name, "") for name in CARRIED}
        with use_correlation(correlation), use_trace(request.headers.get("traceparent", ""), **carried):
            response = self.get_response(request)
        response[CORRELATION_HEADER] = correlation
        return response


def clean(value: str) -> str:
    """Keep printable ASCII only: the id is written to logs, headers and pages."""
    return _NOT_PRINTABLE.sub("", value)[:LONGEST_CORRELATION]
