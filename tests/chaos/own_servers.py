"""PostgreSQL, Redis and RabbitMQ servers that belong to one run of chaos, to be crashed and started again.

Nothing destructive is done before a server has proven to be the very process that was started here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import redis

from tests import servers


def _die_with_parent() -> list[str]:
    """Return a prefix that ends the server with this process (util-linux); not preexec_fn, as threads run here."""
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", "TERM"] if program else []


class NotOurs(AssertionError):
    """The server that answers is not the process that this run started: hands off."""


class Server:
    """A server process with a data directory that outlives it."""

    def __init__(self, command: list[str], directory: Path, *, user: str | None = None, **environment: str) -> None:
        self._command, self._directory, self._user = command, directory, user
        self._environment = {**os.environ, "HOME": str(directory), **environment}
        self.log = directory / "server.log"
        self.is_wanted = False
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        self.is_wanted = True
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*_die_with_parent(), *self._command],
                cwd=self._directory, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, user=self._user, env=self._environment,
            )  # fmt: skip

    def kill(self) -> None:
        """End it, and all that it started, at once."""
        self._signal_group(signal.SIGKILL)

    def stop(self) -> None:
        self.is_wanted = False
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        if self._popen is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)
            self._popen.wait(30)

    def wait_until(self, is_ready: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not is_ready():
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self._command[0]} does not answer:\n{self.log.read_text(errors='replace')[-2000:]}"
                )
            time.sleep(0.05)


class PostgreSQL(Server):
    """A cluster in a directory of its own, reached by a socket in it."""

    def __init__(self, directory: Path) -> None:
        user = servers.unprivileged_user()
        if user:
            shutil.chown(directory, user)
        self._programs = servers.postgresql_binaries(directory, user)
        self.data = directory / "data"
        options = {
            "listen_addresses": "", "max_connections": "120", "max_wal_size": "96MB", "min_wal_size": "32MB",
            "checkpoint_timeout": "60s", "log_min_messages": "warning", "deadlock_timeout": "200ms",
        }  # fmt: skip
        arguments = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        super().__init__(
            [str(self._programs / "postgres"), "-D", str(self.data), "-k", str(directory), *arguments],
            directory, user=user,
        )  # fmt: skip
        self.socket = directory / ".s.PGSQL.5432"
        self._directory = directory

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self._directory}"

    def initialise(self) -> None:
        made = [self._programs / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run(
            [*map(str, made), "--no-locale", "--no-sync", "--wal-segsize=1"],
            cwd=self._directory, user=self._user, check=True, capture_output=True,
        )  # fmt: skip

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def check_is_ours(self) -> None:
        """Raise unless the postmaster of the data directory is the process started here."""
        first_line = (self.data / "postmaster.pid").read_text().splitlines()[0]
        if int(first_line) != self.pid:
            raise NotOurs(f"postmaster {first_line} is not ours ({self.pid})")

    def crash(self) -> None:
        """``pg_ctl -m immediate stop``: no checkpoint, no farewell; the next start recovers from the log."""
        self.check_is_ours()
        os.kill(self.pid, signal.SIGQUIT)
        assert self._popen is not None
        self._popen.wait(30)


class Redis(Server):
    """Keeps nothing on disk."""

    def __init__(self, directory: Path) -> None:
        self.url = f"unix://{directory}/redis.sock"
        options = ["--port", "0", "--unixsocket", f"{directory}/redis.sock", "--save", "", "--appendonly", "no"]
        super().__init__([servers.redis_binary(), *options], directory)

    def is_ready(self) -> bool:
        return servers.redis_process(self.url) == self.pid

    def ours(self) -> redis.Redis:
        """Return a client, once the server has proven to be the process started here."""
        if not self.is_ready():
            raise NotOurs(f"the Redis at {self.url} is not process {self.pid}")
        return redis.Redis.from_url(self.url)


class RabbitMQ(Server):
    """One node; its queues are durable, its wake-ups not necessarily."""

    def __init__(self, directory: Path) -> None:
        node = servers.rabbitmq_node(directory)
        self.url = node.url
        self._node_log = directory
        super().__init__([node.program], directory, **node.environment)

    def start(self) -> None:
        for log in self._node_log.glob("*.log"):
            if log != self.log:
                log.unlink()
        super().start()

    def is_ready(self) -> bool:
        return any("started TCP listener" in log.read_text(errors="replace") for log in self._node_log.glob("*.log"))
