"""The system under chaos: servers of its own, every role of the bus, a publisher with a ledger, an operator."""

from __future__ import annotations

import heapq
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.chaos import clocks
from tests.chaos.own_servers import PostgreSQL, RabbitMQ, Redis, Server
from tests.chaos.proxy import Proxy
from tests.chaos.roles import Role
from tests.processes import ROOT, environment

DATABASE = "chaos"
STALE_AFTER_SECONDS = 4.0
DISK_MEGABYTES = 3000
"""Size of the file system of PostgreSQL's own; it takes memory only for what is in it."""
ROLES = {
    "relay 1": ["manage.py", "relay"],
    "relay 2": ["manage.py", "relay"],
    "worker 1": ["manage.py", "worker", "--concurrency", "2"],
    "worker 2": ["manage.py", "worker", "--concurrency", "2"],
    "scheduler": ["manage.py", "scheduler"],
}
WITH_A_CLOCK_OF_ITS_OWN = ("relay 2", "worker 2")


class System:
    """Owns every process; ``later`` acts are carried out by ``run_until``."""

    def __init__(self, directory: Path, out: Path, *, broker: str, rate: float, seed: int) -> None:
        self._directory, self._out, self._rate, self._seed = directory, out, rate, seed
        self.is_disk_small = False
        self.servers: dict[str, Server] = {}
        self.roles: dict[str, Role] = {}
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.ledger = out / "ledger"
        self._broker = broker
        self.env: dict[str, str] = {}

    @property
    def postgresql(self) -> PostgreSQL:
        server = self.servers["postgresql"]
        assert isinstance(server, PostgreSQL)
        return server

    @property
    def redis(self) -> Redis:
        server = self.servers["redis"]
        assert isinstance(server, Redis)
        return server

    @property
    def disk(self) -> Path:
        return self._directory / "postgresql"

    def start_servers(self) -> None:
        """Start the servers and the proxy; ``env`` then names them."""
        self._out.mkdir(parents=True, exist_ok=True)
        for old in [self.ledger, *self._out.glob("*.log")]:
            old.unlink(missing_ok=True)
        self.disk.mkdir()
        self.is_disk_small = self._mount()
        self.servers["postgresql"] = PostgreSQL(self.disk)
        self.postgresql.initialise()
        (self._directory / "redis").mkdir()
        self.servers["redis"] = Redis(self._directory / "redis")
        if self._broker == "rabbitmq":
            (self._directory / "rabbitmq").mkdir()
            self.servers["rabbitmq"] = RabbitMQ(self._directory / "rabbitmq")
        for server in self.servers.values():
            server.start()
        self.servers["postgresql"].wait_until(self.postgresql.is_ready)
        self.servers["redis"].wait_until(self.redis.is_ready)
        if isinstance(rabbitmq := self.servers.get("rabbitmq"), RabbitMQ):
            rabbitmq.wait_until(rabbitmq.is_ready)
        with psycopg.connect(self.postgresql.url(), autocommit=True) as session:
            session.execute(f"CREATE DATABASE {DATABASE}")
        self.proxy = Proxy(self.postgresql.socket)
        self.env = self._environment()

    def _mount(self) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(self.disk)]
        return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0

    def resize_disk(self, *, to_what_is_used: bool = False) -> bool:
        """Give PostgreSQL's file system its full size, or none beyond what lies in it; say whether that was done."""
        assert self.is_disk_small
        state = os.statvfs(self.disk)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize
        size = str(used) if to_what_is_used else f"{DISK_MEGABYTES}m"
        command = ["mount", "-o", f"remount,size={size}", str(self.disk)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _environment(self) -> dict[str, str]:
        given = {
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.proxy.port}/{DATABASE}"
            "?sslmode=disable&gssencmode=disable&connect_timeout=5",
            "REDIS_URL": self.redis.url,
            "SECRET_KEY": "of-the-chaos-only-" + "x" * 40,
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "SIGNALBOX_STALE_AFTER_SECONDS": str(STALE_AFTER_SECONDS),
            "SIGNALBOX_HEARTBEAT_SECONDS": "1",
            "LOG_LEVEL": "WARNING",
        }
        if isinstance(rabbitmq := self.servers.get("rabbitmq"), RabbitMQ):
            given["CELERY_BROKER_URL"] = rabbitmq.url
        return environment(self._directory, **given)

    def start(self) -> None:
        """Migrate, then start every role, the publisher and the operator."""
        self.manage("migrate", "--run-syncdb", "--verbosity", "0")
        for name, command in ROLES.items():
            self._start_role(name, command, SIGNALBOX_ROLE=name.split(" ", maxsplit=1)[0])
        publisher = ["--ledger", str(self.ledger), "--rate", str(self._rate), "--seed", str(self._seed)]
        self._start_role("publisher", ["-m", "tests.chaos.client", "publisher", *publisher])
        self._start_role("operator", ["-m", "tests.chaos.client", "operator"])

    def is_at_work(self) -> bool:
        """Say whether a handler has done its work."""
        with psycopg.connect(self.postgresql.url(DATABASE)) as session:
            return bool(session.execute("SELECT 1 FROM journey_effect LIMIT 1").fetchone())

    def _start_role(self, name: str, command: list[str], **settings: str) -> None:
        extra = clocks.movable(self.clock_file(name)) if name in WITH_A_CLOCK_OF_ITS_OWN else {}
        log = self._out / f"{name.replace(' ', '-')}.log"
        self.roles[name] = Role(name, command, {**self.env, **settings, **extra}, log)
        self.roles[name].start()

    def clock_file(self, role: str) -> Path:
        return self._directory / f"clock-{role.replace(' ', '-')}"

    def manage(self, *arguments: str) -> str:
        """Run a command of the project to its end and return what it printed."""
        made = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise AssertionError(f"{arguments} ended with {made.returncode}:\n{made.stdout}{made.stderr}")
        return made.stdout

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), act))

    def run_until(self, moment: float, *, is_done: Callable[[], bool] = lambda: False) -> bool:
        """Supervise everything until ``moment`` of the monotonic clock, or until it is done; say whether it is."""
        while time.monotonic() < moment:
            if is_done():
                return True
            self._supervise()
            time.sleep(0.1)
        return is_done()

    def finish_faults(self) -> None:
        """Let every fault under way end."""
        while self._later:
            self.run_until(self._later[0][0] + 0.1)

    def _supervise(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        for server in self.servers.values():
            if server.is_wanted and not server.is_running:
                server.start()
        for role in self.roles.values():
            role.supervise()

    def stop_publishing(self) -> None:
        self.roles.pop("publisher").end()

    def end(self) -> None:
        for role in self.roles.values():
            role.end()
        for server in reversed(self.servers.values()):
            server.stop()
        if self.is_disk_small:
            subprocess.run(["umount", "--lazy", str(self.disk)], check=False)
