"""What a command of the bus checks before it begins."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import checks
from django.core.checks.registry import registry
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from tests.processes import ROOT

pytestmark = pytest.mark.django_db


@pytest.fixture
def failing_check() -> Iterator[None]:
    def of_an_application(**_: Any) -> list[checks.CheckMessage]:
        return [checks.Error("The points are frozen.", id="station.E001")]

    registry.register(of_an_application, "station")
    yield
    registry.registered_checks.remove(of_an_application)


def test_an_application_s_own_check_stops_a_command(failing_check: None) -> None:
    with pytest.raises(SystemCheckError, match="The points are frozen"):
        call_command("verify", skip_checks=False)


def test_what_only_pages_need_is_not_imported_for_it() -> None:
    code = (
        "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'; django.setup();"
        "from messaging.management.commands.verify import Command;"
        "c = Command(); c.check(tags=c.requires_system_checks); print('console.urls' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
