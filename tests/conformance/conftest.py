"""The brokers' suite runs real processes, like the acceptance tests."""

from tests.acceptance.conftest import embedded, production

__all__ = ["embedded", "production"]
