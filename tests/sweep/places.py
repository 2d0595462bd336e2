"""Every failpoint of the bus, read from its source: a place that no sweep reaches is a moment at which nobody died."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import messaging
from messaging.database import FAILPOINTS

UNREACHABLE = {
    "postgresql": "claim_in_order.commit claim_in_order.committed move_due.commit move_due.committed relay.fanned_out"
    " prune.commit prune.committed",
    "sqlite": "partitions.commit partitions.committed partition.dropped relay.filtered",
}
ENDINGS = {"failpoints.reach": ("",), "failpoints.atomic": (".commit", ".committed")}


def all_places() -> set[str]:
    """Return the names that the environment may arm."""
    around = {f"{name}.{end}" for name in FAILPOINTS for end in ("before", "after")}
    return around | {name for path in Path(messaging.__file__).parent.rglob("*.py") for name in _named(path)}


def unreachable(vendor: str) -> set[str]:
    """Return the places of statements that this database does another way."""
    return set(UNREACHABLE[vendor].split())


def _named(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in ENDINGS:
            [name] = [str(each.value) for each in node.args if isinstance(each, ast.Constant)]
            yield from (f"{name}{end}" for end in ENDINGS[called])
