from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from messaging.management.base import BusCommand


class Command(BusCommand):
    help = "Run consumers: a Celery worker that serves every consumer's queue. Run one or more."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--concurrency", type=int, default=2, help="processes (prefork) or threads")
        parser.add_argument("--pool", choices=["prefork", "threads", "solo"], default="prefork")
        parser.add_argument("--queues", help="serve only these, separated by commas")

    def handle(self, *, concurrency: int, pool: str, queues: str | None, **_: Any) -> None:
        # SIGTERM then lets running handlers finish for worker_soft_shutdown_timeout, and no longer.
        os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")
        os.environ.setdefault("CELERY_SKIP_CHECKS", "1")  # they are done, and Celery would import every view for them
        from console.celery import app
        from messaging import wakeups

        app.worker_main(
            [
                *("worker", "--pool", pool, "--concurrency", str(concurrency)),
                *("--queues", queues or ",".join(wakeups.queue_names())),
                *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"),
            ]
        )
