"""A clock of its own for one process and its children, moved while it runs; needs libfaketime on the machine."""

from __future__ import annotations

from functools import cache
from pathlib import Path

READ_EVERY_SECONDS = 1


@cache
def library() -> Path | None:
    """Return libfaketime of this machine (Debian: apt-get install libfaketime)."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


def movable(file: Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock ``move`` moves; empty where that cannot be done."""
    found = library()
    if found is None:
        return {}
    move(file, 0)
    return {
        "LD_PRELOAD": str(found),
        "PYTHONPATH": str(Path(__file__).parent / "faketime"),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": str(READ_EVERY_SECONDS),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # nobody moves that one in life either
        "FAKETIME_DONT_RESET": "1",
    }


def move(file: Path, seconds: int) -> None:
    """Let the clock be wrong by so much from now on."""
    file.write_text(f"{seconds:+d}\n")
