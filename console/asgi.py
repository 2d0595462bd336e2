"""The ASGI application: pages and REST over HTTP, hints over one WebSocket."""

from __future__ import annotations

import os
import warnings

from django.core.asgi import get_asgi_application

# WhiteNoise answers with a file in blocks, which Django reads to its end before sending: right for files of this size.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
_http = get_asgi_application()  # loads the apps, which the imports below need

from django.conf import settings  # noqa: E402

from console.body_limit import limited  # noqa: E402
from console.live.routing import websocket  # noqa: E402
from console.live.server import Application  # noqa: E402

# Somewhat above what views refuse by themselves, with words that fit.
application = Application(http=limited(_http, limit=4 * settings.DATA_UPLOAD_MAX_MEMORY_SIZE), websocket=websocket)
