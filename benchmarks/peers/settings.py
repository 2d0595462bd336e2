"""Django settings of a peer: those of all peers, and the apps that it needs."""

from __future__ import annotations

import os

from benchmarks.settings import *  # noqa: F403
from benchmarks.settings import INSTALLED_APPS as ORDERS

PEER = os.environ["BENCH_PEER"]
_APPS = {
    "procrastinate": ["procrastinate.contrib.django"],
    "django-tasks": ["django_tasks", "django_tasks_db"],
    "django-outbox-pattern": ["django_outbox_pattern"],
}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", *_APPS.get(PEER, ()), *ORDERS]
PROCRASTINATE_IMPORT_PATHS = ["benchmarks.peers.with_procrastinate"]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
_HOST, _, _PORT = (os.environ.get("BENCH_STOMP") or "127.0.0.1:61613").partition(":")
DJANGO_OUTBOX_PATTERN = {"DEFAULT_STOMP_HOST_AND_PORTS": [(_HOST, int(_PORT))]}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
