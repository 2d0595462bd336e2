"""Django settings of the peers: as small as Django goes, which is the kindest to them."""

from __future__ import annotations

import os

from console import environment

SECRET_KEY = "of-the-benchmark-only"  # noqa: S105  nothing listens to the world
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["benchmarks.orders.app.PeerOrders"]
DATABASES = {"default": {**environment.database(os.environ["DATABASE_URL"]), "CONN_MAX_AGE": None}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
