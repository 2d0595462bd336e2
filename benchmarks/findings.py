"""What the commands of the benchmarks share: how one ends, and how it writes what it found."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def end_tidily() -> None:
    """Have SIGTERM take down whatever this process started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))


def conditions(*, minutes: int = 5) -> dict[str, Any]:
    """Return when this is, and how busy the machine has been for 1, 5 or 15 ``minutes``."""
    load = dict(zip((1, 5, 15), os.getloadavg(), strict=True))[minutes]
    return {"at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "load": round(load, 1)}


def write(path: Path, found: dict[str, Any]) -> None:
    """Write what was found as the report reads it."""
    path.write_text(json.dumps(found, indent=1) + "\n")
