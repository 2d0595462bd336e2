"""The bus's statements under a virtual clock: PostgreSQL is told the time where it would look at its own clock."""

from __future__ import annotations

import re
from typing import Any, Self

import psycopg

from messaging import clock

_DATABASE_CLOCK = re.compile(r"\b(?:clock|statement|transaction)_timestamp\(\)")


class VirtualCursor(psycopg.Cursor[Any]):
    """A cursor for tests and simulations; production statements never pass through it."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        told = _DATABASE_CLOCK.sub(f"timestamptz '{clock.now().isoformat()}'", query)
        return super().execute(told, params, **options)
