#!/usr/bin/env python3
"""Make .venv, fill it from the locks, fetch the front-end assets, start Signalbox.

Runs on the standard library alone, and is quick when nothing changed: stamps in .venv hold the hash of what was
installed from, so a second start calls neither pip nor npm and needs no network.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

MINIMUM = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
BASE, DEV = ROOT / "requirements" / "base.txt", ROOT / "requirements" / "dev.txt"
PEERS = ROOT / "requirements" / "peers.txt"
INSTALLER = ROOT / "requirements" / "installer.txt"
PIP = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
ASSETS = ROOT / "scripts" / "assets.py"


class Failure(Exception):
    """What the user has to mend, in one or two sentences."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["install", "up"])
    parser.add_argument("--dev", action="store_true", help="install what tests and checks need as well")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    try:
        require_python()
        ensure_environment()
        assets = start_assets()  # npm works while pip does
        install(DEV if arguments.dev else BASE)
        finish_assets(assets)
    except Failure as failure:
        print(f"signalbox: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if arguments.action == "up":
        sys.stdout.flush()
        os.execv(PYTHON, [str(PYTHON), "manage.py", "up"])
    return 0


def require_python() -> None:
    """Go on with a newer Python of this machine when this one is too old."""
    if sys.version_info >= MINIMUM:
        return
    for minor in range(14, 10, -1):
        if newer := shutil.which(f"python3.{minor}"):
            os.execv(newer, [newer, *sys.argv])
    raise Failure(
        f"Python {sys.version.split()[0]} is too old, 3.11 or newer is needed."
        " Install it, or name one: make up PYTHON=/path/to/python3.11"
    )


def ensure_environment() -> None:
    """Create .venv, or create it anew when it belongs to another Python."""
    if PYTHON.exists() and version_of(PYTHON) == sys.version_info[:2]:
        return
    if not shutil.which("uv"):
        require_module("ensurepip")
    require_module("venv")
    without_pip = ["--without-pip"] if shutil.which("uv") else []
    with Step(f"Creating .venv with Python {sys.version.split()[0]}"):
        run([sys.executable, "-m", "venv", "--clear", *without_pip, str(VENV)], "The environment was not created")


def require_module(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        version = ".".join(map(str, sys.version_info[:2]))
        raise Failure(
            f"Python {version} here lacks its {name} module, so no environment can be made."
            f" On Debian and Ubuntu: sudo apt-get install python{version}-venv"
            + (" (or install uv, which does without it)." if name == "ensurepip" else ".")
        )


def version_of(python: Path) -> tuple[int, ...] | None:
    command = [str(python), "-c", "import sys; print(*sys.version_info[:2])"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return tuple(map(int, result.stdout.split())) if result.returncode == 0 else None


def install(lock: Path) -> None:
    """Install exactly the lock's packages, unless the stamp says they are there."""
    if is_fresh("dev", [DEV]) or (lock == BASE and is_fresh("base", [BASE])):
        return
    count = sum(1 for line in lock.read_text().splitlines() if "==" in line)
    with Step(f"Installing {count} locked packages; this takes up to a minute"):
        if (problem := with_uv(lock)) is not None:
            with_pip(lock, problem)
    stamp("dev" if lock == DEV else "base", [lock])


# The locks are complete: there is nothing to resolve.
AS_LOCKED = ["--quiet", "--no-deps", "--require-hashes", "-r"]


def with_uv(lock: Path) -> str | None:
    """Install with uv, which takes a fraction of pip's time; else return why pip has to do it, "" without uv."""
    if not (uv := shutil.which("uv") or uv_of_our_own()):
        return ""
    command = [uv, "pip", "install", "--python", str(PYTHON), *AS_LOCKED, str(lock)]
    environment = {"UV_NATIVE_TLS": "1", **os.environ}  # the machine's certificates, as pip is usually told to trust
    try:
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return result.stderr.strip() if result.returncode else None


def uv_of_our_own() -> str | None:
    """Put uv into .venv, unless pip was told of an index of its own, which uv would not ask."""
    ensure_pip()
    asked = subprocess.run([*PIP, "config", "get", "global.index-url"], capture_output=True, check=False)
    if asked.returncode == 0 or os.environ.get("PIP_INDEX_URL"):
        return None
    command = [*PIP, "install", "--only-binary", ":all:", *AS_LOCKED, str(INSTALLER)]
    got = subprocess.run(command, capture_output=True, check=False)
    return str(PYTHON.with_name("uv")) if got.returncode == 0 else None


def with_pip(lock: Path, problem: str) -> None:
    """Install with pip; ``problem`` is what uv said, told as well if neither can."""
    try:
        ensure_pip()
        run([*PIP, "install", "--no-compile", *AS_LOCKED, str(lock)], "The packages were not installed")
    except Failure as failure:
        raise Failure(f"{failure}" + (f"\nuv had said:\n{problem[-3000:]}" if problem else "")) from failure


def ensure_pip() -> None:
    if subprocess.run([*PIP, "--version"], capture_output=True, check=False).returncode:
        run([str(PYTHON), "-m", "ensurepip"], "pip could not be put into .venv")


def start_assets() -> subprocess.Popen[str]:
    """Begin to build static/vendor; done at once when nothing changed."""
    return subprocess.Popen(
        [str(PYTHON), str(ASSETS)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish_assets(building: subprocess.Popen[str]) -> None:
    """Wait for static/vendor; the console works without it, less comfortably, so a failure only warns."""
    try:
        output, _ = building.communicate(timeout=0.3)
    except subprocess.TimeoutExpired:
        with Step("Fetching the front-end libraries"):
            output, _ = building.communicate()
    if building.returncode:
        print("  Warning: static/vendor is incomplete: charts, the editor or smooth updates are missing.")
        print("  Mend it with `make assets`. The reason was:", *output.strip().splitlines()[-3:], sep="\n    ")


def is_fresh(name: str, sources: list[Path]) -> bool:
    path = VENV / f".signalbox-{name}"
    return path.exists() and path.read_text() == fingerprint(sources)


def stamp(name: str, sources: list[Path]) -> None:
    (VENV / f".signalbox-{name}").write_text(fingerprint(sources))


def fingerprint(sources: list[Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run(command: list[str], problem: str) -> None:
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        output = (result.stderr or result.stdout).strip()
        raise Failure(f"{problem}:\n{output[-3000:]}")


class Step:
    """Says what is being done, and when it is over how long it took."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __enter__(self) -> None:
        self.started = time.monotonic()
        print(f"{self.text} …", end="", flush=True)

    def __exit__(self, problem: object, *_: object) -> None:
        print(" failed." if problem else f" {time.monotonic() - self.started:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
