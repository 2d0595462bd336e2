"""Settings of the simulation: the bus, a small cast, and one database in memory per process."""

from __future__ import annotations

from typing import Any

SECRET_KEY = "of-the-simulation-only-" + "x" * 40
INSTALLED_APPS = ["django.contrib.contenttypes", "messaging", "tests.simulation.cast"]
USE_TZ = True
LOGGING_CONFIG = None
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "cached_statements": 2_000},
    }
}
STORAGES = {"signalbox": {"BACKEND": "tests.simulation.parts.shelf.Shelf"}}
MESSAGING: dict[str, Any] = {}
