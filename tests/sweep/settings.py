"""Settings of the crash sweep: the project's own with a small app that leaves traces, faults allowed, short waits."""

from __future__ import annotations

import os

from console.settings import *  # noqa: F403
from console.settings import HOME
from console.settings import INSTALLED_APPS as PROJECT_APPS
from console.settings import MESSAGING as PROJECT_MESSAGING
from console.settings import STORAGES as PROJECT_STORAGES

INSTALLED_APPS = [*PROJECT_APPS, "tests.sweep.journey"]
MESSAGING = {
    **PROJECT_MESSAGING, "allow_faults": True, "poll_seconds": 0.05, "slice_seconds": 0.5, "inline_body_bytes": 4000,
    "crash_limit": int(os.environ["SWEEP_CRASH_LIMIT"]),
}  # fmt: skip
_BODIES = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(HOME / "bodies")}}
STORAGES = {**PROJECT_STORAGES, "signalbox": _BODIES}
SAMPLE_TRAFFIC = False
