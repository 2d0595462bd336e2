from __future__ import annotations

import signal
from typing import Any

from messaging.delivery.presence import presence, sign_off
from messaging.management.base import BusCommand


class Command(BusCommand):
    help = "Send the ticks: rescue, roll-ups, expiring pauses, retention. One is enough; two are harmless."

    def handle(self, **_: Any) -> None:
        from celery.beat import Scheduler, Service

        from console.celery import app, schedule

        app.conf.beat_schedule = schedule()
        service = Service(app, scheduler_cls=Scheduler)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        presence("scheduler")
        try:
            service.start()
        finally:
            sign_off()
