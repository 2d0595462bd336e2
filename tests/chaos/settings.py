"""Settings of the processes under chaos: the project's own, with the sweep's small app that leaves traces."""

from __future__ import annotations

from console.settings import *  # noqa: F403
from console.settings import INSTALLED_APPS as PROJECT_APPS

INSTALLED_APPS = [*PROJECT_APPS, "tests.sweep.journey"]
SAMPLE_TRAFFIC = False
