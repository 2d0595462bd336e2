"""The harness as a pytest fixture: ``pytest_plugins = ["messaging.testing.plugin"]`` in conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from messaging import testing

if TYPE_CHECKING:
    from messaging.testing import Harness


@pytest.fixture
def harness(db: None) -> Iterator[Harness]:
    """Run the bus on a virtual clock, in pytest-django's ``db``, or ``transactional_db`` where the test asks for it."""
    with testing.harness() as running:
        yield running
