"""``python -m tests.chaos``: real faults against real processes, then a recount. Exit status 1 when a promise broke."""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.faults import FAULTS, Fault, Missed, schedule
from tests.chaos.own_servers import NotOurs
from tests.chaos.report import Report, Struck
from tests.chaos.system import DATABASE, System
from tests.processes import ROOT

WARM_UP_SECONDS = 8.0
"""At least; a fault that strikes before the first message was handled strikes nothing."""
STARTING_SECONDS = 120.0
DRAIN_SECONDS = 180.0
"""At least; a fifth of the run where that is more: on a busy machine the load itself may leave a backlog."""


def main() -> int:
    given = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # a job in the background is deaf to the first, unless told
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="signalbox-chaos-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o711)
        system = System(directory, given.out, broker=given.broker, rate=given.rate, seed=given.seed)
        try:
            report = _run(system, given)
        finally:
            system.end()
    report.write(given.out, {fault.name: fault.does for fault in FAULTS})
    say(report.verdict())
    for violation in report.violations[:20]:
        say(f"  {violation}")
    say(f"The report is {given.out}/report.md, the processes' logs lie beside it.")
    return 1 if report.violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--broker", choices=["redis", "rabbitmq"], default="redis")
    parser.add_argument("--rate", type=float, default=12.0, help="trips a second; each makes three messages")
    parser.add_argument("--shortest", type=float, default=4.0, help="seconds between two faults, at least")
    parser.add_argument("--longest", type=float, default=14.0, help="and at most")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="names of faults, by commas")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "chaos", help="directory of the report")
    return parser.parse_args()


def _run(system: System, given: argparse.Namespace) -> Report:
    system.start_servers()
    os.environ |= {**system.env, "DATABASE_URL": system.postgresql.url(DATABASE)}
    report = Report(
        broker=given.broker, seed=given.seed, minutes=given.minutes, commit=_commit(),
        began_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )  # fmt: skip
    report.left_out = {fault.name: why for fault in FAULTS if (why := fault.lacks(system))}
    chosen = [
        fault for fault in FAULTS if fault.name not in report.left_out and fault.name in (given.only or fault.name)
    ]
    say(f"seed {given.seed}, {given.minutes:g} minutes, {given.broker}; not here: {report.left_out or 'nothing'}")
    system.start()
    began = time.monotonic()
    system.run_until(began + STARTING_SECONDS, is_done=system.is_at_work)
    system.run_until(began + WARM_UP_SECONDS)
    plan = schedule(given.seed, given.minutes * 60, chosen, shortest=given.shortest, longest=given.longest)
    _strike(system, plan, given.minutes * 60, report)
    _drain(system, report, max(DRAIN_SECONDS, given.minutes * 12))
    _recount(system, report)
    return report


def _strike(system: System, plan: list[tuple[float, Fault, int]], seconds: float, report: Report) -> None:
    began = time.monotonic()
    for at, fault, seed in plan:
        system.run_until(began + at)
        try:
            hit = fault.act(system, random.Random(seed))
        except (Missed, NotOurs):
            report.missed[fault.name] = report.missed.get(fault.name, 0) + 1
            continue
        report.struck.append(Struck(round(time.monotonic() - began, 1), fault.name, hit))
        say(f"{report.struck[-1].at:7.1f} s  {fault.name}: {hit}")
    system.run_until(began + seconds)
    system.finish_faults()


def _drain(system: System, report: Report, seconds: float) -> None:
    system.proxy.disarm()
    system.stop_publishing()
    import django

    django.setup()
    began = time.monotonic()
    if system.run_until(began + seconds, is_done=_is_drained):
        report.drained_in = round(time.monotonic() - began, 1)
    say("drained" if report.drained_in is not None else "NOT drained")


def _is_drained() -> bool:
    from django.db import connection
    from django.db.utils import DatabaseError, InterfaceError

    from messaging.models import DeadLetter, Delivery, OutboxEntry, RollupDelta, ScheduledMessage, UnsealedRecords

    try:
        unfinished = DeadLetter.objects.filter(state__in=("open", "replaying", "resubmitting"))
        hot = (OutboxEntry, ScheduledMessage, Delivery, RollupDelta, UnsealedRecords)
        return not any(rows.exists() for rows in (unfinished, *(model.objects.all() for model in hot)))
    except (DatabaseError, InterfaceError):
        connection.close()
        return False


def _recount(system: System, report: Report) -> None:
    from tests.chaos import blindness, ledger, recount

    report.cuts = dict(system.proxy.cuts)
    report.restarts = {name: role.ended_by_itself for name, role in system.roles.items()}
    report.no_space_errors = system.postgresql.log.read_text(errors="replace").count("No space left on device")
    for role in system.roles.values():
        role.end()
    entries = ledger.read(system.ledger)
    report.count = recount.count(entries)
    report.count.violations += blindness.blind_spots(entries, report.count, recount.count)


def _commit() -> str:
    made = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return made.stdout.strip() or "unknown"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
