from __future__ import annotations

import signal
from argparse import ArgumentParser
from typing import Any

import uvicorn
from django.core.management.base import BaseCommand

from console import environment as env
from console import web
from console.roles import ensure_first_operator
from messaging.delivery.presence import presence, sign_off


class Command(BaseCommand):
    help = "Serve the console, the REST interface and the live updates."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default=env.text("HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=env.integer("PORT", 8000))

    def handle(self, *, host: str, port: int, **_: Any) -> None:
        listener = web.listen(host, port)
        self.stdout.write(f"Serving {web.address(listener)}")
        self.stdout.flush()
        if env.text("SIGNALBOX_ADMIN_PASSWORD"):
            ensure_first_operator()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # uvicorn raises them again once it is done; we still sign off
        presence("web")
        try:
            uvicorn.Server(web.config()).run(sockets=[listener])
        finally:
            sign_off()
