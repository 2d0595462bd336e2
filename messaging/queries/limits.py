"""Breakers and limits as an operator sees them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q

from messaging import clock
from messaging.limits import Circuit
from messaging.models import Gate
from messaging.queries import shared
from messaging.queries.pages import is_storable


@dataclass(frozen=True, kw_only=True)
class GateRow:
    """The shared state of one consumer's or dependency's limits."""

    kind: str
    name: str
    has_breaker: bool
    breaker: str
    """closed, open, half_open."""
    declared: dict[str, object]
    """The breaker as the code has it."""
    opened_at: datetime | None
    open_until: datetime | None
    """When a probe is due; None while it is open: when somebody resets it."""
    opened_by: str
    """The operator who tripped it; empty when failures did."""
    open_reason: str
    is_probing: bool
    failures_in_a_row: int
    times_opened: int
    held_by_breaker: int
    held_by_rate: int
    held_by_concurrency: int
    """How often a worker was sent away."""
    override: dict[str, object]
    overridden_by: str
    override_reason: str
    overridden_at: datetime | None
    consumers: tuple[str, ...]
    """Those that a dependency's breaker holds; of a consumer itself."""


def list_dependencies() -> list[GateRow]:
    """Every dependency, open ones first."""
    users = _users()
    found = [gate for gate in shared.gates() if gate.kind == Gate.Kind.DEPENDENCY]
    rows = [_row(gate, tuple(users[gate.name])) for gate in found]
    return sorted(rows, key=lambda row: (row.breaker == "closed", row.name))


def get_dependency(name: str) -> GateRow | None:
    return next((row for row in list_dependencies() if row.name == name), None) if is_storable(name) else None


def gates_of(consumers: list[str]) -> dict[str, GateRow]:
    """Return the gates of consumers that have one, by name."""
    names = set(consumers)
    found = (gate for gate in shared.gates() if gate.kind == Gate.Kind.CONSUMER and gate.name in names)
    return {gate.name: _row(gate, (gate.name,)) for gate in found}


def open_gates() -> list[Gate]:
    """Return the gates whose breaker is open or half open, the oldest first."""
    return sorted((gate for gate in shared.gates() if gate.opened_at), key=lambda gate: (gate.opened_at, gate.id))


def open_breakers() -> list[GateRow]:
    """Return what is open or half open, the oldest first."""
    gates = open_gates()
    users = _users() if any(gate.kind == Gate.Kind.DEPENDENCY for gate in gates) else {}
    return [
        _row(gate, tuple(users.get(gate.name, ())) if gate.kind == Gate.Kind.DEPENDENCY else (gate.name,))
        for gate in gates
    ]


def gates() -> list[GateRow]:
    """Return every gate that tells something: those with a breaker, an override or a count."""
    told = Gate.objects.filter(~Q(declared={}) | Q(overridden_at__isnull=False) | Q(held_by_rate__gt=0)
                               | Q(held_by_concurrency__gt=0))  # fmt: skip
    return [_row(gate, ()) for gate in told.order_by("id")]


def _users() -> dict[str, list[str]]:
    users: dict[str, list[str]] = defaultdict(list)
    for state in shared.consumer_states():
        for dependency in state.limits.get("depends_on", ()) if state.retired_at is None else ():
            users[dependency].append(state.name)
    return users


def _row(gate: Gate, consumers: tuple[str, ...]) -> GateRow:
    circuit = Circuit(opened_at=gate.opened_at, open_until=gate.open_until)
    return GateRow(
        kind=gate.kind, name=gate.name, has_breaker=bool(gate.declared), breaker=circuit.standing(clock.now()),
        declared=gate.declared, opened_at=gate.opened_at, open_until=gate.open_until, opened_by=gate.opened_by,
        open_reason=gate.open_reason, is_probing=gate.probe_token is not None, failures_in_a_row=gate.run,
        times_opened=gate.times_opened, held_by_breaker=gate.held_by_breaker, held_by_rate=gate.held_by_rate,
        held_by_concurrency=gate.held_by_concurrency, override=gate.override, overridden_by=gate.overridden_by,
        override_reason=gate.override_reason, overridden_at=gate.overridden_at, consumers=consumers,
    )  # fmt: skip


def in_force(declared: dict[str, Any], gate: GateRow | None) -> dict[str, object]:
    """Return rate and concurrency that hold now, of a consumer's declared limits and an operator's."""
    given = gate.override if gate else {}
    return {name: given.get(name) or declared.get(name) for name in ("rate_limit", "concurrency")}
