"""``make bench``: measure everything that docs/performance.md shows, in turn, and write the page with its pictures.

About five hours on two quiet cores. Each part writes its own file when it ends, so one that fails costs no other its
figures: it is told, and the next one goes on. The status is 1 when any failed.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.findings import ROOT

PARTS: dict[str, tuple[str, ...]] = {
    "limit": ("benchmarks.limit",),
    "orders": ("benchmarks", "--full"),
    "overhead": ("benchmarks.overhead",),
    "embedded": ("benchmarks.embedded",),
    "scaling": ("benchmarks.scaling",),
    "growth": ("benchmarks.growth", "--history", "10000000"),
    "livefeed": ("benchmarks.livefeed",),
    "sustained": ("benchmarks.sustained",),
    "plots": ("benchmarks.plots",),
    "report": ("benchmarks.report",),
}


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all without any")
    chosen = parser.parse_args(given).parts or list(PARTS)
    if unknown := sorted(set(chosen) - set(PARTS)):
        parser.error(f"{', '.join(unknown)} is unknown; choose from {', '.join(PARTS)}")
    failed = measure({name: PARTS[name] for name in chosen})
    print(f"Failed: {', '.join(failed)}." if failed else "All parts are measured.", file=sys.stderr)
    return 1 if failed else 0


def measure(parts: dict[str, tuple[str, ...]]) -> list[str]:
    """Run the parts and return those that failed; once it is told to stop, what is left counts as failed."""
    failed: list[str] = []
    under_way: list[subprocess.Popen[bytes]] = []
    is_stopped = False

    def stop(number: int, _: object) -> None:
        nonlocal is_stopped
        is_stopped = True
        if number == signal.SIGTERM and under_way:  # a terminal tells SIGINT to both
            under_way[-1].terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)  # the part ends by itself and writes what it has
    for name, command in parts.items():
        if is_stopped:
            failed.append(name)
            continue
        print(f"{time.strftime('%H:%M')} {name} …", file=sys.stderr, flush=True)
        under_way.append(subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT))
        if under_way[-1].wait():
            failed.append(name)
    return failed


if __name__ == "__main__":
    sys.exit(main())
