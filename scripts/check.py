"""Run every check that needs no server, and say how each ended. With --no-tests the unit tests are left out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from bootstrap import ROOT

PYTHON = sys.executable
CHECKS = {  # the slowest first, two at a time
    "types": [PYTHON, "-m", "mypy"],
    "format": [PYTHON, "-m", "ruff", "format", "--check", "."],
    "lint": [PYTHON, "-m", "ruff", "check", "."],
    "import rules": [str(ROOT / ".venv" / "bin" / "lint-imports"), "--no-logo"],
    "migrations": [PYTHON, "manage.py", "makemigrations", "--check", "--dry-run"],
    "settings": [PYTHON, "manage.py", "check", "--fail-level", "WARNING"],
    "compose file": [
        *(PYTHON, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"),
        "docker-compose.yml",
    ],
    "unit tests": [PYTHON, "-m", "pytest", "-q", "tests/unit"],
}


def main() -> int:
    checks = {name: command for name, command in CHECKS.items() if name != "unit tests" or "--no-tests" not in sys.argv}
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = pool.map(passes, checks, checks.values())
        failed = [name for name, is_fine in zip(checks, results, strict=True) if not is_fine]
    print(f"\n{', '.join(failed)} failed." if failed else "\nAll checks passed.")
    return 1 if failed else 0


def passes(name: str, command: list[str]) -> bool:
    started = time.monotonic()
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "SECRET_KEY": "of-the-checks-only"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(
        f"{'ok    ' if result.returncode == 0 else 'FAILED'} {name:<13} {time.monotonic() - started:5.1f} s", flush=True
    )
    if result.returncode:
        print(result.stdout + result.stderr, flush=True)
    return result.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
