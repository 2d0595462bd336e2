"""Connections of consumers without Django, with the options that all others get."""

from __future__ import annotations

import os
from urllib.parse import quote

from console import environment


def as_django_connects() -> str:
    """Return the database's address with what Django's connections say to PostgreSQL: how to plan, not to compile."""
    address = os.environ["DATABASE_URL"]
    options: dict[str, str] = environment.database(address)["OPTIONS"]  # type: ignore[assignment]
    return f"{address}&options={quote(options['options'])}"
