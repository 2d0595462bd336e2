"""What the commands of the benchmarks share: their options, and the file in which each keeps what it found."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Found = dict[str, Any]


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """Return the parser of ``python -m benchmarks.<name>``, which knows where its findings are written."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    made.add_argument("--output", type=Path, default=_file(name), help="where to write what was found")
    return made


def conditions(*, minutes: int = 5) -> Found:
    """Return when this is, and how busy the machine has been for 1, 5 or 15 ``minutes``."""
    load = dict(zip((1, 5, 15), os.getloadavg(), strict=True))[minutes]
    return {"at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "load": round(load, 1)}


def write(path: Path, found: Found) -> None:
    """Write what was found as the report reads it."""
    path.write_text(json.dumps(found, indent=1) + "\n")


def read(name: str) -> Found | None:
    """Return what ``python -m benchmarks.<name>`` wrote last, if it ever ran."""
    file = _file(name)
    return json.loads(file.read_text()) if file.exists() else None


def _file(name: str) -> Path:
    return ROOT / f"benchmarks/{name}.json"
