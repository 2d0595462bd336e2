"""The ASGI application: pages and REST over HTTP, hints over one WebSocket."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
django.setup(set_prefix=False)  # loads the apps, which the imports below need

from django.conf import settings  # noqa: E402

from console.body_limit import limited  # noqa: E402
from console.live.routing import websocket  # noqa: E402
from console.live.server import Application  # noqa: E402
from console.serving import Pages  # noqa: E402

# Somewhat above what views refuse by themselves, with words that fit.
application = Application(http=limited(Pages(), limit=4 * settings.DATA_UPLOAD_MAX_MEMORY_SIZE), websocket=websocket)
