"""The brokers' suite runs real processes, like the acceptance tests."""

from tests.acceptance.conftest import embedded, migrated, production, started_once

__all__ = ["embedded", "migrated", "production", "started_once"]
