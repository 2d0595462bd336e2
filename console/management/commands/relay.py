from __future__ import annotations

import signal
import threading
from typing import Any

from messaging import relay
from messaging.management.base import BusCommand


class Command(BusCommand):
    help = "Turn committed publishes into deliveries and wake the workers. Run one or more."

    def handle(self, **_: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        relay.run(stop)
