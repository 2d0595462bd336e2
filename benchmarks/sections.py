"""Sections of the report that come from commands of their own, each from the file that its command wrote last."""

from __future__ import annotations

from benchmarks import grown, traced, watched
from benchmarks.findings import ROOT, Found, read

LINES = {
    "workers": "worker processes, one INSERT (deliveries/s)",
    "workers, 5 ms call": "worker processes, 5 ms elsewhere (deliveries/s)",
    "relays": "relays, no worker running (messages/s)",
    "consumers": "consumers of one event (deliveries/s)",
    "backlog": "messages waiting (deliveries/s)",
}

PICTURES = {
    "throughput": "Throughput of every system beside tuned Celery",
    "latency": "Latency of every system",
    "scaling": "Throughput by processes, relays, consumers and backlog",
    "sustained": "Backlog, tables and memory over time",
}


def pictures() -> dict[str, str]:
    """Return the pictures that ``python -m benchmarks.plots`` has drawn, as Markdown."""
    return {
        name: f"![{title}](images/performance-{name}.svg)"
        if (ROOT / f"docs/images/performance-{name}.svg").exists()
        else "No picture yet: run `python -m benchmarks.plots`."
        for name, title in PICTURES.items()
    }


def texts() -> dict[str, str]:
    """Return the sections by their place in page.md."""
    writers = {
        "scaling": scaling, "sustained": sustained, "embedded": embedded, "limit": limit, "growth": grown.text,
        "overhead": traced.text, "livefeed": watched.text,
    }  # fmt: skip
    found = {name: read(name) for name in writers}
    return {
        name: f"Not measured yet: run `python -m benchmarks.{name}`." if one is None else writers[name](one)
        for name, one in found.items()
    }


def scaling(found: Found) -> str:
    head = (
        f"Measured {found['at']} on {found['cores']} cores (load average {found['load']}), {found['rounds']} rounds"
        f" in turns, {found['n']:,} deliveries each (a quarter of it with the call); of a backlog of 1,000,000 one"
        " round, its first 20,000. Medians; CPU is that of workers, relay and PostgreSQL, starting left out."
    )
    tables = [head]
    for line, points in found["lines"].items():
        first = next(iter(points.values()))["rate"]["median"]
        rows = [_point(x, point, first) for x, point in points.items()]
        tables.append(
            f"| {LINES[line]} | median | min-max | x the first | CPU ms each | relayed/s |\n|---|---|---|---|---|---|\n"
            + "\n".join(rows)
        )
    return "\n\n".join(tables)


def _point(x: str, point: dict[str, dict[str, float]], first: float) -> str:
    rate, cpu, relayed = point["rate"], point.get("cpu"), point.get("relayed")
    cells = [
        f"{int(x):,}", f"{rate['median']:,.0f}", f"{rate['min']:,.0f}-{rate['max']:,.0f}",
        f"{rate['median'] / first:.2f}", f"{cpu['median']:.2f}" if cpu else "-",
        f"{relayed['median']:,.0f}" if relayed else "-",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def sustained(found: Found) -> str:
    backlog, size, dead, memory = (found[name] for name in ("backlog", "hot_mb", "dead_rows", "memory_mb"))
    return (
        f"Measured {found['at']} (load average {found['load']}): {found['minutes']:g} minutes, four producers asked for"
        f" {found['asked']:,.0f} orders a second, 80 % of the limit of {found['limit']:,.0f} measured just before;"
        f" {found['handled']:,} were handled, {found['rate']:,.0f} a second, none lost or twice. Retention dropped"
        f" {found['dropped_partitions']} daily partitions half-way, under load.\n\n"
        "| | middle third | last third |\n|---|---|---|\n"
        f"| backlog, median messages | {backlog[0]:,.0f} | {backlog[1]:,.0f} |\n"
        f"| tables that work passes through, with indexes, largest MB | {size[0]:.1f} | {size[1]:.1f} |\n"
        f"| their dead rows, most | {dead[0]:,} | {dead[1]:,} |\n"
        f"| memory of relay, workers and scheduler, median MB | {memory[0]:.0f} | {memory[1]:.0f} |\n\n"
        f"The largest backlog seen was {found['most_backlog']:,}."
    )


def embedded(found: Found) -> str:
    rows = "\n".join(
        f"| {name} | {one['embedded']:,} | {one['celery']:,} | **{one['ratio']:.2f}** |"
        f" {one['min']:.2f}-{one['max']:.2f} |"
        for name, one in ((name, found[name]) for name in ("drain", "publish"))
    )
    return (
        f"Measured {found['at']} (load average {found['load']}), {found['rounds']} rounds in turns of {found['n']:,}"
        " orders: one process of `manage.py up` on SQLite (fsync at every commit), web and scheduler included, beside"
        " tuned Celery on PostgreSQL and Redis.\n\n"
        f"| events/s | embedded | tuned Celery | ratio | range |\n|---|---|---|---|---|\n{rows}"
    )


def limit(found: Found) -> str:
    rows = "\n".join(
        f"| {name} | {one['median']:,} | {one['min']:,}-{one['max']:,} |" for name, one in found["work"].items()
    )
    return (
        f"Measured {found['at']} (load average {found['load']}), {found['rounds']} rounds, by pgbench with prepared"
        " statements: the same rows, no history, no attempts, no Python.\n\n"
        f"| PostgreSQL alone | events/s | range |\n|---|---|---|\n{rows}"
    )
