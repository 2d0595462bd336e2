"""Settings of the test run: the project's own, pointed at private servers.

TEST_DATABASE=sqlite (the default) or postgresql chooses the database; with PostgreSQL comes Redis. Importing this
module starts the servers, because Django reads its settings before any fixture can run.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests import servers

KIND = os.environ.get("TEST_DATABASE", "sqlite")
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")

for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "SIGNALBOX_HOME", "SIGNALBOX_ROLE", "DEBUG", "HOST"):
    os.environ.pop(name, None)  # a developer's shell must not decide what is tested
os.environ.setdefault("LOG_LEVEL", "WARNING")
os.environ["SECRET_KEY"] = "of-the-tests-only-" + "x" * 40
os.environ["SIGNALBOX_HOME"] = str(servers.private_directory("home"))
if KIND == "postgresql":
    os.environ["DATABASE_URL"] = servers.postgresql()
    os.environ["REDIS_URL"] = servers.redis_url()
elif KIND != "sqlite":
    raise RuntimeError(f"TEST_DATABASE={KIND!r} is unknown; use sqlite or postgresql.")

from console.settings import *  # noqa: E402, F403  after the environment is set
from console.settings import CHANNEL_LAYERS, DATABASES, HOME  # noqa: E402

if KIND == "sqlite":
    # A file, not SQLite's memory database: that one has no WAL and no second writer to wait for. Best in memory though.
    home = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else HOME
    DATABASES["default"]["TEST"] = {"NAME": str(home / f"signalbox-test-{os.getpid()}.sqlite3")}
else:
    DATABASES["default"]["TEST"] = {"NAME": f"test_signalbox_{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"}
    CHANNEL_LAYERS["default"]["CONFIG"]["prefix"] = f"signalbox-{WORKER}"  # type: ignore[index]

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SAMPLE_TRAFFIC = False
TRACING = False  # tests of tracing bring a provider of their own
STATIC_ROOT = servers.private_directory("static")
