"""``python -m benchmarks.embedded``: the embedded default, one process on SQLite, beside tuned Celery on Redis.

In turns: publish a backlog with nobody consuming, then start ``manage.py up`` (web, relay, worker and scheduler), or
Celery's worker, and take the time from the first reservation to the last. Writes benchmarks/embedded.json.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import findings, servers
from benchmarks.figures import interval
from benchmarks.findings import ROOT
from benchmarks.measures import publish_then_drain
from benchmarks.stage import open_stage, patience
from benchmarks.systems import REFERENCE, SYSTEMS

_NOW = "(strftime('%Y-%m-%d %H:%M:%f', 'now'))"
_SCHEMA = f"""
CREATE TABLE orders (id char(32) PRIMARY KEY, customer text NOT NULL, total decimal NOT NULL, items text NOT NULL,
    created_at text NOT NULL DEFAULT {_NOW});
CREATE TABLE reservations (order_id text PRIMARY KEY, created_at text NOT NULL DEFAULT {_NOW},
    runs integer NOT NULL DEFAULT 1);
"""


def drain(home: Path, n: int) -> dict[str, float]:
    """Return events per second of publishing and of draining in a fresh data directory.

    Raises:
        SystemExit: not every order was reserved exactly once.
    """
    given = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ} | {
        "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "benchmarks.bus_settings", "SIGNALBOX_HOME": str(home),
        "SIGNALBOX_SAMPLE_TRAFFIC": "0", "LOG_LEVEL": "WARNING", "PORT": "0",
    }  # fmt: skip

    def run(*command: str) -> str:
        whole = [sys.executable, *command]
        return subprocess.run(whole, cwd=ROOT, env=given, check=True, stdout=subprocess.PIPE, text=True).stdout

    run("manage.py", "migrate", "-v", "0")
    file = home / "signalbox.sqlite3"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(_SCHEMA)
    run("-m", "benchmarks.prepare")
    published = json.loads(
        run("-m", "benchmarks.produce", "--publisher", "benchmarks.orders.bus", "--n", str(n)).splitlines()[-1]
    )
    with (home / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"], cwd=ROOT, env=given, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        first, last = _span(file, n)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    return {"publish": published["rate"], "drain": (n - 1) / (last - first)}


def _span(file: Path, n: int) -> tuple[float, float]:
    query = "SELECT count(*), sum(runs), julianday(min(created_at)), julianday(max(created_at)) FROM reservations"
    end = time.monotonic() + patience(n)
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        while True:
            count, runs, first, last = connection.execute(query).fetchone()
            if count >= n:
                break
            if time.monotonic() > end:
                raise SystemExit(f"embedded: {count} of {n} reservations after {patience(n):.0f} s, see {file.parent}")
            time.sleep(0.1)
    if (count, runs) != (n, n):
        raise SystemExit(f"embedded: {count} reservations in {runs} runs of {n} orders")
    return first * 86400, last * 86400


def measure(rounds: int, n: int) -> dict[str, Any]:
    running = servers.start()
    celery = SYSTEMS[REFERENCE]
    template = servers.make_template(running, celery)
    ours, theirs = [], []
    for number in range(rounds):
        for name in ("bus", REFERENCE) if number % 2 == 0 else (REFERENCE, "bus"):
            if name == "bus":
                with tempfile.TemporaryDirectory(prefix="signalbox-embedded-") as directory:
                    figures = drain(Path(directory), n)
                ours.append(figures)
            else:
                with open_stage(running, celery, template=template, handler="insert") as stage:
                    figures = publish_then_drain(stage, n)
                    if stage.missing_and_duplicated() != (0, 0):
                        raise SystemExit("Celery was not exact")
                theirs.append(figures)
            shown = "  ".join(f"{key} {figures[key]:,.0f}" for key in ("publish", "drain"))
            print(f"[{number + 1}/{rounds}] {name:10} {shown}", file=sys.stderr, flush=True)
    return {key: _compared([run[key] for run in ours], [run[key] for run in theirs]) for key in ("drain", "publish")}


def _compared(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    low, high = interval(ratios)
    return {
        "embedded": round(median(ours)), "celery": round(median(theirs)), "ratio": round(median(ratios), 3),
        "min": round(min(ratios), 3), "max": round(max(ratios), 3), "low": low, "high": high,
    }  # fmt: skip


def main() -> None:
    parser = findings.parser("embedded", __doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n", type=int, default=2000, help="orders of one round")
    arguments = parser.parse_args()
    found = {
        **findings.conditions(),
        "rounds": arguments.rounds, "n": arguments.n, **measure(arguments.rounds, arguments.n),
    }  # fmt: skip
    findings.write(arguments.output, found)


if __name__ == "__main__":
    main()
