"""Real processes of Signalbox, started, watched and killed by acceptance tests."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0
"""How long a test waits for what must come; only a failing run ever waits so long."""
_OURS = (
    "DATABASE_URL",
    "REDIS_URL",
    "CELERY_",
    "SIGNALBOX_",
    "DJANGO_",
    "SECRET_KEY",
    "HOST",
    "PORT",
    "PYTEST_",
    "TEST_",
)


_IS_ANYTHING_WAITING = (
    "SELECT EXISTS (SELECT 1 FROM messaging_outboxentry) OR EXISTS (SELECT 1 FROM messaging_delivery)"
)


class TookTooLong(AssertionError):
    """Something that must happen did not."""


def environment(home: Path, **settings: str) -> dict[str, str]:
    """Return this machine's environment with none of the test run's own settings, and these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {**inherited, "SIGNALBOX_HOME": str(home), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **settings}


def eventually(is_true: Callable[[], object], *, what: str, seconds: float = PATIENCE) -> None:
    """Wait until a condition holds; ask seldom what takes long to come, as asking takes from what is asked."""
    deadline, pause = time.monotonic() + seconds, 0.02
    while not is_true():
        if time.monotonic() > deadline:
            raise TookTooLong(f"{what} did not happen within {seconds:.0f} s.")
        time.sleep(pause)
        pause = min(1.1 * pause, 0.2)


class Program:
    """A running ``manage.py`` command and what it printed so far."""

    def __init__(self, *arguments: str, env: dict[str, str]) -> None:
        self.arguments = arguments
        self.env = env
        self._lines: list[str] = []
        self._popen = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that kill() also reaches the children of a prefork worker
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as lines:
            self._lines.extend(lines)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> str:
        return "".join(list(self._lines))

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def wait_for(self, text: str) -> str:
        """Return the first line that contains ``text``, as soon as it is printed."""
        found: list[str] = []

        def is_printed() -> bool:
            found.extend(line for line in list(self._lines) if text in line)
            if not found and not self.is_running:
                raise AssertionError(f"{self.arguments} ended with {self._popen.returncode}:\n{self.output}")
            return bool(found)

        eventually(is_printed, what=f"{text!r} from {self.arguments}")
        return found[0]

    def wait(self, seconds: float = PATIENCE) -> int:
        """Return the exit status, once the program ended and all it printed was read."""
        try:
            status = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TookTooLong(f"{self.arguments} did not end within {seconds} s:\n{self.output}") from None
        self._reader.join(5)
        return status

    def signal(self, number: signal.Signals) -> None:
        if self.is_running:
            self._popen.send_signal(number)

    def kill(self) -> None:
        """End it and its children as a crash does."""
        if self.is_running:
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        self._reader.join(5)


class Deployment:
    """A data directory or a database, and the programs that a test runs on it."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.env = environment(home, **settings)
        self.programs: list[Program] = []

    def start(self, *arguments: str, **settings: str) -> Program:
        program = Program(*arguments, env={**self.env, **settings})
        self.programs.append(program)
        return program

    def run(self, *arguments: str, **settings: str) -> Program:
        """Run a command to its end; a failure is the test's."""
        program = self.start(*arguments, **settings)
        status = program.wait()
        assert status == 0, f"{arguments} ended with {status}:\n{program.output}"
        return program

    def report(self) -> dict[str, Any]:
        """Return what ``manage.py verify --json`` counts."""
        command = [sys.executable, "manage.py", "verify", "--json"]
        result = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)
        assert result.stdout, result.stderr
        counted: dict[str, Any] = json.loads(result.stdout)
        return counted

    def is_anything_waiting(self) -> bool:
        """Ask the tables for rows that wait for a relay or a worker: a report starts a process, which takes a core."""
        if url := self.env.get("DATABASE_URL"):
            with psycopg.connect(url) as session:
                answer = session.execute(_IS_ANYTHING_WAITING).fetchone()
        else:
            with closing(sqlite3.connect(f"file:{self.home}/signalbox.sqlite3?mode=ro", uri=True)) as file:
                answer = file.execute(_IS_ANYTHING_WAITING).fetchone()
        assert answer is not None
        return bool(answer[0])

    def drain(self) -> dict[str, Any]:
        """Wait until no delivery waits any more; return the last report."""
        last: dict[str, Any] = {}

        def is_drained() -> bool:
            if self.is_anything_waiting():
                return False
            last.update(self.report())
            return not any(consumer["waiting"] for consumer in last["consumers"])

        eventually(is_drained, what="the end of the backlog", seconds=3 * PATIENCE)
        return last

    def end(self) -> None:
        for program in self.programs:
            program.kill()
