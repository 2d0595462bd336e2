"""Private PostgreSQL and Redis on unix sockets. Every run starts its own and stops them by process id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import redis

from benchmarks.findings import ROOT
from benchmarks.systems import System
from tests import servers as binaries

SCHEMA = (ROOT / "benchmarks/orders/schema.sql").read_text()


@dataclass(frozen=True)
class Servers:
    """Where the servers of this run listen."""

    directory: Path
    postgresql: psutil.Process
    version: str
    stomp: str = ""
    """Address of RabbitMQ's STOMP listener, when a system needs one."""

    def database_url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.directory / 'postgresql'}"

    @property
    def home(self) -> Path:
        """The data directory of whatever runs beside them."""
        return self.directory / "home"

    @property
    def redis_url(self) -> str:
        return f"unix://{self.directory / 'redis' / 'redis.sock'}?db=0"

    @property
    def broker_url(self) -> str:
        return f"redis+socket://{self.directory / 'redis' / 'redis.sock'}?virtual_host=0"

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        with psycopg.connect(self.database_url(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def flush_redis(self) -> None:
        redis.Redis.from_url(self.redis_url).flushall()


def start(*, with_stomp: bool = False) -> Servers:
    """Start both, and RabbitMQ when a system needs it; they end with this process, also by SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    directory = binaries.private_directory("benchmark")
    directory.chmod(0o711)
    postgresql, version = _start_postgresql(directory / "postgresql")
    _start_redis(directory / "redis")
    stomp = _start_rabbitmq(directory / "rabbitmq") if with_stomp else ""
    return Servers(directory, psutil.Process(postgresql.pid), version, stomp)


def _start_rabbitmq(directory: Path) -> str:
    """RabbitMQ with its STOMP plugin."""
    directory.mkdir()
    node, port = binaries.rabbitmq_node(directory), binaries.free_port()
    (directory / "enabled_plugins").write_text("[rabbitmq_stomp].\n")
    with (directory / "rabbitmq.conf").open("a") as file:
        file.write(f"stomp.listeners.tcp.1 = 127.0.0.1:{port}\n")
    server = binaries.Process([node.program], directory=directory, grace=0, environment=node.environment)
    server.wait_until(lambda: binaries.is_listening(port))
    return f"127.0.0.1:{port}"


def _start_postgresql(directory: Path) -> tuple[binaries.Process, str]:
    """PostgreSQL as it comes: fsync, full_page_writes and synchronous_commit are on."""
    directory.mkdir()
    user = binaries.unprivileged_user()
    if user:
        shutil.chown(directory, user)
    programs = binaries.postgresql_binaries(directory, user)
    data = directory / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"],
        cwd=directory, user=user, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    command = [programs / "postgres", "-D", data, "-k", directory, "-c", "listen_addresses="]
    server = binaries.Process([str(part) for part in command], directory=directory, user=user)
    url = f"postgresql://postgres@/postgres?host={directory}"
    server.wait_until(lambda: _answers(url))
    with psycopg.connect(url) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return server, str(row[0]) if row else ""


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def _start_redis(directory: Path) -> None:
    directory.mkdir()
    socket = directory / "redis.sock"
    program = binaries.redis_binary()
    listen = ["--port", "0", "--unixsocket", str(socket)]
    server = binaries.Process([program, *listen, "--save", "", "--appendonly", "no"], directory=directory)
    server.wait_until(socket.exists)


def environment(servers: Servers, system: System, *, database: str, handler: str = "insert") -> dict[str, str]:
    """Return what the processes of a system are told, and nothing of the caller's own configuration."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": system.settings,
        "DATABASE_URL": servers.database_url(database),
        "REDIS_URL": servers.redis_url,
        "CELERY_BROKER_URL": servers.broker_url,
        "BENCH_STOMP": servers.stomp,
        "SECRET_KEY": "of-the-benchmark-only",
        "SIGNALBOX_HOME": str(servers.home),
        "LOG_LEVEL": "WARNING",
        "BENCH_HANDLER": handler,
        **system.environment,
    }


def make_template(servers: Servers, system: System) -> str:
    """Make the database that each run of a system starts from, and return its name."""
    name = f"template_{system.name.replace('-', '_')}"
    servers.execute(f"CREATE DATABASE {name}")
    servers.execute(SCHEMA, database=name)
    for command in system.prepare:
        given = environment(servers, system, database=name)
        subprocess.run(command, cwd=ROOT, env=given, check=True, stdout=subprocess.DEVNULL)
    _wait_until_unused(servers, name)
    return name


def _wait_until_unused(servers: Servers, name: str) -> None:
    # A database with a session of its own cannot be copied, and autovacuum may just be looking at it.
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(servers.database_url("postgres"), autocommit=True) as connection:
        for _ in range(100):
            row = connection.execute(query, [name]).fetchone()
            if row and row[0] == 0:
                return
            time.sleep(0.05)
