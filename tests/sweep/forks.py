"""Victims: processes forked from one that has already imported everything, each with a database of its own choice."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST_LIFE = 240
"""Seconds after which a process that hangs is ended by an alarm: later than two drains that never end give up."""


@dataclass(frozen=True, kw_only=True)
class End:
    """How a process ended: by which signal (0: by itself), with what answer, and what it printed."""

    signal: int
    status: int
    answer: Any
    printed: str

    @property
    def was_killed(self) -> bool:
        return self.signal == signal.SIGKILL

    @property
    def is_fine(self) -> bool:
        return self.signal == 0 and self.status == 0


class Victim:
    """A running process that carries out one function."""

    def __init__(self, act: Callable[[], Any], *, database: str, directory: Path, **environment: str) -> None:
        self._log, self._answer = directory / "printed", directory / "answer"
        self._answer.unlink(missing_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._live(act, database, environment)

    def _live(self, act: Callable[[], Any], database: str, environment: dict[str, str]) -> None:
        status = 1
        try:
            printed = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            signal.alarm(LONGEST_LIFE)
            os.environ |= environment
            _settle_in(database)
            self._answer.write_text(json.dumps(act()))
            status = 0
        except BaseException:  # noqa: BLE001  the parent reads what it was
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)  # the parent's objects are not ours to take down

    def is_frozen(self) -> bool:
        """Wait until the process ends or freezes; say which."""
        information = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        return information is not None and information.si_code == os.CLD_STOPPED

    def has_ended(self, *, within: float = 0.1) -> bool:
        """Say whether the process ended, waiting a moment for it."""
        time.sleep(within)
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> End:
        """Wait for the end."""
        _, status = os.waitpid(self.pid, 0)
        by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        answer = json.loads(self._answer.read_text()) if self._answer.exists() else None
        printed = self._log.read_text(errors="replace") if self._log.exists() else ""
        return End(signal=by, status=0 if by else os.WEXITSTATUS(status), answer=answer, printed=printed)


def _settle_in(database: str) -> None:
    from django.db import connections

    from messaging import failpoints
    from tests.sweep import mutants

    connections["default"].settings_dict["NAME"] = database
    failpoints.arm()
    mutants.apply()
