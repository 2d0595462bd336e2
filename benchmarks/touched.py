"""How many rows the statements of a request touch, by EXPLAIN (ANALYZE), and the plan of the dearest one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

READS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Tid Scan", "Sample Scan")
KEEP_ROWS, KEEP_MS = 2_000, 10.0
"""A plan is kept from so many rows, or from so many milliseconds on."""
_LONGEST_LINE, _MOST_LINES = 160, 40
Statement = tuple[str, Any]


@contextmanager
def recorded() -> Iterator[list[Statement]]:
    """Yield the statements that are executed inside."""
    from django.db import connection

    statements: list[Statement] = []

    def wrapper(execute: Callable[..., Any], sql: str, parameters: Any, *given: Any) -> Any:
        statements.append((sql, parameters))
        return execute(sql, parameters, *given)

    with connection.execute_wrapper(wrapper):
        yield statements


def weigh(statements: list[Statement]) -> dict[str, Any]:
    """Return the rows that the reads among the statements touch, and the dearest one's plan if it is worth a look."""
    weighed = [(*_figures(sql, parameters), sql, parameters) for sql, parameters in statements if _is_read(sql)]
    found: dict[str, Any] = {"rows_touched": sum(rows for _, rows, _, _ in weighed)}
    ms, rows, sql, parameters = max(weighed, key=lambda each: each[:2], default=(0.0, 0, "", None))
    if rows >= KEEP_ROWS or ms >= KEEP_MS:
        found["dearest"] = {"ms": round(ms, 1), "rows": rows, "sql": shortened(sql), "plan": _text(sql, parameters)}
    return found


def _is_read(sql: str) -> bool:
    return sql.lstrip(" \n(").upper().startswith(("SELECT", "WITH"))


def _figures(sql: str, parameters: Any) -> tuple[float, int]:
    """Return the milliseconds and the rows touched of one statement."""
    found = _explain("ANALYZE, FORMAT JSON", sql, parameters)[0]
    document = json.loads(found) if isinstance(found, str) else found
    return float(document[0]["Execution Time"]), round(rows_of(document[0]["Plan"]))


def rows_of(plan: dict[str, Any]) -> float:
    """Return the rows that a plan reads: those that its scans return, and those that they throw away."""
    own = 0.0
    if plan["Node Type"] in READS:
        names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        own = sum(plan.get(name, 0) for name in names) * plan["Actual Loops"]
    return own + sum(rows_of(part) for part in plan.get("Plans", ()))


def _explain(how: str, sql: str, parameters: Any) -> list[Any]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN ({how}) {sql}", parameters)
        return [row[0] for row in cursor.fetchall()]


def _text(sql: str, parameters: Any) -> list[str]:
    lines = _explain("ANALYZE, COSTS OFF, SUMMARY OFF, TIMING OFF", sql, parameters)
    # Of partitions the first few say it all.
    told = [shortened(line) for line in lines if "never executed" not in line]
    rest = [f"… {len(told) - _MOST_LINES} more lines"] if len(told) > _MOST_LINES else []
    return told[:_MOST_LINES] + rest


def shortened(text: str) -> str:
    """Return a statement or a line of a plan without long lists, names of every column, and ids."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>", text)
    text = re.sub(r"SELECT (DISTINCT )?\"[^()]{60,}? FROM", r"SELECT \1… FROM", text)
    text = re.sub(r"\{[^}]{60,}\}", "{…}", re.sub(r"(%s, ){4,}", "…, ", text))
    return text if len(text) <= _LONGEST_LINE * 3 else text[: _LONGEST_LINE * 3] + " …"
