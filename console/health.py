"""For load balancers and Prometheus: is it alive, can it serve, how is it doing."""

from __future__ import annotations

import logging
import math
import secrets
import threading

from celery import current_app
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from kombu.exceptions import KombuError
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from console import metrics
from console.identity import NotIdentified, identify
from messaging.operations import VIEW
from messaging.queries import overview
from messaging.queries.faults import injected_faults

log = logging.getLogger(__name__)

BROKER_TIMEOUT_SECONDS = 2.0

_is_migrated = threading.Event()


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers; nothing else is asked, so that a database's trouble restarts nothing."""
    return JsonResponse({"status": "alive"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """Everything a message needs on its way is there; else 503 with the reasons."""
    reasons = _database_reasons() or [*_broker_reasons(), *_relay_reasons()]
    status = "ready" if not reasons else "not ready"
    injected = [] if reasons else [f"{fault.consumer}: {fault.words}" for fault in injected_faults()]
    said = {"status": status, "reasons": reasons, **({"injected_faults": injected} if injected else {})}
    return JsonResponse(said, status=503 if reasons else 200)


def _is_scraper(request: HttpRequest) -> bool:
    """Say whether the request bears the secret that Prometheus was given."""
    known = f"Bearer {settings.METRICS_TOKEN}".encode()
    given = request.headers.get("Authorization", "").encode("utf-8", "surrogatepass")
    return bool(settings.METRICS_TOKEN) and secrets.compare_digest(given, known)


@require_safe
@never_cache
def metrics_page(request: HttpRequest) -> HttpResponse:
    """The scrape: for tokens with the scope read, for the scraper's own secret, or for everyone if settings say so."""
    if not settings.METRICS_PUBLIC and not _is_scraper(request):
        try:
            if not identify(request).may(VIEW):
                return _text("Forbidden: this needs the scope read.\n", 403)
        except NotIdentified as error:
            response = _text(f"Unauthorized: {error}\n", 429 if error.wait_seconds else 401)
            response["WWW-Authenticate"] = 'Bearer realm="signalbox"'
            if error.wait_seconds:
                response["Retry-After"] = str(math.ceil(error.wait_seconds))
            return response
    try:
        return HttpResponse(metrics.render(), content_type=CONTENT_TYPE_LATEST)
    except DatabaseError:
        log.exception("The metrics could not be read.")
        return _text("The database is not reachable.\n", 503)


def _text(message: str, status: int) -> HttpResponse:
    return HttpResponse(message, status=status, content_type="text/plain; charset=utf-8")


def _database_reasons() -> list[str]:
    try:
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if not _is_migrated.is_set():  # stays true: asking again at every probe would read every migration file
            executor = MigrationExecutor(connection)
            if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
                _is_migrated.set()
    except DatabaseError as error:
        log.warning("Not ready: %s", error)
        return [f"The database {DEFAULT_DB_ALIAS!r} is not reachable."]
    return [] if _is_migrated.is_set() else ["Migrations are missing: run manage.py migrate."]


def _broker_reasons() -> list[str]:
    # Its address may hold a password: it is logged nowhere and shown nowhere.
    broker = current_app.connection_for_write(connect_timeout=BROKER_TIMEOUT_SECONDS)
    if broker.transport.driver_type == "redis":
        limits = {"socket_connect_timeout": BROKER_TIMEOUT_SECONDS, "socket_timeout": BROKER_TIMEOUT_SECONDS}
        broker.transport_options = {**broker.transport_options, **limits}
    try:
        with broker:
            broker.connect()
    except (OSError, KombuError, *broker.connection_errors) as error:
        log.warning("Not ready: the broker does not answer (%s).", type(error).__name__)
        return ["The broker does not answer: messages are kept, but no worker is woken."]
    return []


def _relay_reasons() -> list[str]:
    vitals, limit = overview.vitals(), settings.READY_MAX_LAG_SECONDS
    reasons = []
    if not vitals.relays_alive:
        reasons.append("No relay is alive: run manage.py relay (or manage.py up).")
    if vitals.outbox_lag_seconds > limit:
        reasons.append(f"The outbox is {vitals.outbox_lag_seconds:.0f} s behind; the limit is {limit:g} s.")
    return reasons


urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics_page, name="metrics"),
]
