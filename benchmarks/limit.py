"""``python -m benchmarks.limit``: what PostgreSQL alone does with the cheapest form of the same flow, by pgbench.

Publishing is one transaction with the order and an outbox row; consuming deletes outbox rows and inserts their
reservations, one a transaction or a hundred. Writes benchmarks/limit.json.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import findings, servers
from benchmarks.servers import Servers
from tests import servers as binaries

_SCHEMA = """
DROP TABLE IF EXISTS porders, poutbox, preservations;
CREATE TABLE porders (id uuid PRIMARY KEY, customer text NOT NULL, total numeric(10, 2) NOT NULL, items jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE poutbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id uuid NOT NULL, body jsonb NOT NULL);
CREATE TABLE preservations (order_id uuid PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT clock_timestamp());
"""
_FILL = """
INSERT INTO poutbox (order_id, body) SELECT gen_random_uuid(), jsonb_build_object('items', repeat('x', 560))
FROM generate_series(1, 40000)"""
_PUBLISH = r"""
BEGIN;
WITH o AS (INSERT INTO porders (id, customer, total, items)
    VALUES (gen_random_uuid(), 'customer-1', 75.00, jsonb_build_array(repeat('x', 560))) RETURNING id)
SELECT id AS oid FROM o \gset
INSERT INTO poutbox (order_id, body)
VALUES (CAST(:oid AS uuid), jsonb_build_object('order_id', CAST(:oid AS text), 'items', repeat('x', 560)));
COMMIT;
"""
_CONSUME = """
WITH c AS (SELECT id FROM poutbox ORDER BY id LIMIT {count} FOR UPDATE SKIP LOCKED),
    d AS (DELETE FROM poutbox o USING c WHERE o.id = c.id RETURNING o.order_id)
INSERT INTO preservations (order_id) SELECT order_id FROM d;
"""
WORK = {
    "publish": (_PUBLISH, 1, (1, 2, 4)),
    "consume one by one": (_CONSUME.format(count=1), 1, (2,)),
    "consume by the hundred": (_CONSUME.format(count=100), 100, (2,)),
}
"""What is done, events of one transaction, and with how many clients."""
CONSUMED = 20_000


def measure(running: Servers, program: Path, rounds: int, seconds: int) -> dict[str, dict[str, float]]:
    """Return events per second by kind of work and clients."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, (script, events, counts) in WORK.items():
            for clients in counts:
                running.execute(_SCHEMA)
                if name != "publish":
                    running.execute(_FILL)
                running.execute("CHECKPOINT")
                length = ["-T", str(seconds)] if name == "publish" else ["-t", str(CONSUMED // events // clients)]
                rate = _pgbench(running, program, script, clients, length) * events
                found.setdefault(f"{name}, {clients} clients", []).append(rate)
                print(f"{name}, {clients} clients: {rate:,.0f}/s", file=sys.stderr, flush=True)
    return {
        name: {"median": round(median(rates)), "min": round(min(rates)), "max": round(max(rates))}
        for name, rates in found.items()
    }


def _pgbench(running: Servers, program: Path, script: str, clients: int, length: list[str]) -> float:
    file = running.directory / "pgbench.sql"
    file.write_text(script)
    command = [str(program), "-n", "-M", "prepared", "-f", str(file), "-c", str(clients), "-j", str(clients), *length]
    printed = subprocess.run(
        [*command, running.database_url("postgres")], check=True, capture_output=True, text=True
    ).stdout
    rate = re.search(r"^tps = ([0-9.]+)", printed, re.MULTILINE)
    if rate is None:
        raise SystemExit(f"pgbench printed no rate: {printed}")
    return float(rate[1])


def main() -> None:
    parser = findings.parser("limit", __doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    arguments = parser.parse_args()
    running = servers.start()
    program = binaries.postgresql_binaries(running.directory, binaries.unprivileged_user()) / "pgbench"
    if not program.exists():
        raise SystemExit(f"{program} is missing: install PostgreSQL's server package, which brings pgbench.")
    found: dict[str, Any] = {
        **findings.conditions(),
        "rounds": arguments.rounds, "work": measure(running, program, arguments.rounds, arguments.seconds),
    }  # fmt: skip
    findings.write(arguments.output, found)


if __name__ == "__main__":
    main()
