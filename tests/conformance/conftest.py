"""The brokers' suite runs real processes, like the acceptance tests."""

from tests.acceptance.conftest import embedded, migrated, production

__all__ = ["embedded", "migrated", "production"]
