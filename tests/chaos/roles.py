"""The processes of the bus under chaos: started, watched, killed, frozen, and started again as a supervisor would."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.processes import ROOT

RESTART_AFTER = 0.5
"""Seconds after which a supervisor starts again what ended."""


class Role:
    """One process and its children, in a session of their own. What it prints goes to a file."""

    def __init__(self, name: str, command: list[str], env: dict[str, str], log: Path) -> None:
        self.name, self._command, self._env, self._log = name, command, env, log
        self._popen: subprocess.Popen[bytes] | None = None
        self._is_killed = False
        self._ended_at = 0.0
        self.ended_by_itself = 0

    def start(self) -> None:
        self._is_killed = False
        self._ended_at = 0.0
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, *self._command],
                cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def supervise(self) -> None:
        """Start it again when it ended, by itself or by a fault."""
        if self.is_running:
            return
        if not self._ended_at:
            self._ended_at = time.monotonic()
            self.ended_by_itself += not self._is_killed
        elif time.monotonic() - self._ended_at > RESTART_AFTER:
            self.start()

    def kill(self) -> None:
        """SIGKILL the process and its children."""
        self._is_killed = True
        self._signal_group(signal.SIGKILL)

    def freeze(self) -> None:
        self._signal_group(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_group(signal.SIGCONT)

    def end(self, seconds: float = 20.0) -> None:
        """Ask it to end; kill what does not."""
        if self._popen is None:
            return
        self._is_killed = True
        with suppress(ProcessLookupError):
            self._popen.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(seconds)
        self.kill()
        self._popen.wait()

    def child(self, dice: random.Random) -> psutil.Process | None:
        """Return one of its forked children."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._popen.pid).children() if self._popen and self.is_running else []
            if children:
                return dice.choice(sorted(children, key=lambda child: child.pid))
        return None

    def _signal_group(self, number: signal.Signals) -> None:
        if self._popen is not None and self._popen.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)
