"""The Celery app. It carries wake-ups and ticks only: hints, whose loss costs seconds and never a message."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from celery import Celery
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from kombu.transport import TRANSPORT_ALIASES

from messaging.wakeups import MAINTENANCE_QUEUE

ANSWER_SECONDS = 5.0
"""How long the broker may take to answer. Without an end a worker or relay whose answer never comes waits for it until
somebody restarts one of them, with its consumers idle and its heartbeat going on. Short of memory or disk RabbitMQ
takes nothing, and says nothing."""


def broker_url(url: str) -> str:
    """Return ``url`` as Celery spells it: redis-py names a unix socket differently."""
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return "memory://localhost//"  # kombu warns about a missing host
    if parts.scheme != "unix":
        return url
    return f"redis+socket://{parts.path}?virtual_host={dict(parse_qsl(parts.query)).get('db', 0)}"


def transport_options(url: str) -> dict[str, Any]:
    """Return what the broker behind ``url`` needs beyond Celery's defaults.

    Raises:
        ImproperlyConfigured: Signalbox does not run on this kind of broker.
    """
    match url.partition(":")[0]:
        case "memory":
            return {"polling_interval": 0.02}  # its default, a second, would be the latency of every delivery
        case "redis" | "rediss" | "redis+socket":
            return {
                "visibility_timeout": 86_400,  # a wake-up handed out twice is harmless, but also useless
                "priority_steps": [0],
                "socket_keepalive": True,
                "socket_connect_timeout": 5,
                "socket_timeout": ANSWER_SECONDS,
            }
        case "amqp" | "amqps" | "pyamqp":
            answers = {"read_timeout": ANSWER_SECONDS, "write_timeout": ANSWER_SECONDS}
            return {"confirm_publish": True, "connect_timeout": 5, **answers}
        case other:
            raise ImproperlyConfigured(
                f"CELERY_BROKER_URL begins with {other!r}; use redis://, rediss://, amqp://, amqps:// or unix://."
            )


_url = broker_url(settings.CELERY_BROKER_URL)
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "console.redis_transport:Transport"))

app = Celery("signalbox")
app.set_default()  # current in every thread: Celery's "current app" belongs to the thread that made it
app.conf.update(
    broker_url=_url,
    broker_transport_options=transport_options(_url),
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=5,
    imports=["messaging.tasks"],
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_acks_late=False,
    task_publish_retry=False,  # the relay sends again by itself; it must not hang in here
    task_default_queue=MAINTENANCE_QUEUE,
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_soft_shutdown_timeout=6.0,
    beat_max_loop_interval=1,
    enable_utc=True,
)
app.conf["CELERY_DB_REUSE_MAX"] = 1_000_000  # or Celery closes the database connection around every task


TICK_PATIENCE = 60.0
"""Seconds that a tick may wait for a free worker. Shorter, those of busy workers would all expire: nothing would be
folded, sealed or rescued for as long as the load lasts."""


def schedule() -> dict[str, dict[str, Any]]:
    """Return beat's schedule. A tick that waited too long is dropped: the next one does its work.

    A tick is sent with retries, because nothing else lets beat open anew a connection that the broker closed.
    """
    from messaging.tasks import SCHEDULE  # needs the app above, as its current one

    return {
        name: {"task": name, "schedule": seconds, "options": {"expires": max(seconds, TICK_PATIENCE), "retry": True}}
        for name, seconds in SCHEDULE.items()
    }
