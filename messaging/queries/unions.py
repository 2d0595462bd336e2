"""Several queries of the same columns in one statement, each with an order and a limit of its own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet


def all_of(*queries: QuerySet[Any, Any]) -> list[tuple[int, Any]]:
    """Return the place of its query and the id for each row of these queries, which select one id each.

    Django's own union knows no limits of its parts on SQLite.
    """
    parts: list[str] = []
    values: list[Any] = []
    for place, query in enumerate(queries):
        try:
            sql, given = query.query.sql_with_params()
        except EmptyResultSet:
            continue
        parts.append(f"SELECT {place}, part.* FROM ({sql}) AS part")
        values += given
    if not parts:
        return []
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        return [(place, as_uuid(found)) for place, found in cursor.fetchall()]


def as_uuid(value: Any) -> UUID:
    """Return an id as it is: SQLite answers a raw statement with text."""
    return value if isinstance(value, UUID) else UUID(str(value))
