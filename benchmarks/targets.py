"""What was promised (the targets), and whether the figures keep it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.systems import SYSTEMS

HISTORY = 10_000_000
"""Stored messages that the targets about history speak of."""
PAGE_MS, PAGE_QUERIES = 200, 12
ANSWERED = (200, 302)
"""A search for an id answers with the way to what has it."""
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One target: the figure with its spread, and met, missed or not measured."""

    title: str
    target: str
    figure: str = "-"
    spread: str = "-"
    state: str = "not measured"

    @property
    def line(self) -> str:
        return f"| {self.title} | {self.target} | {self.figure} | {self.spread} | {self.state} |"


def verdicts(results: list[Row], growth: Row | None, sustained: Row | None, embedded: Row | None) -> list[Verdict]:
    """Judge every target by the results of this run, and by the figures of the other commands that were taken."""
    find = _finder(results)
    return [
        _ratio(find("insert", "drain", "bus"), "drain of a backlog, one INSERT", least=6),
        _ratio(find("insert", "drain", "bus-batch"), "drain, batch consumer", least=15),
        _ratio(find("contended", "drain", "bus"), "drain, contended rows", least=3),
        _ratio(find("call", "drain", "bus"), "drain, 5 ms call", least=1),
        _ratio(find("insert", "e2e", "bus"), "end to end, 1 producer", least=1.5),
        _sustained(sustained),
        *_publish(growth),
        _ratio(find("insert", "p50", "bus"), "latency at 50/s, p50", most=1.5),
        _ratio(find("insert", "p99", "bus"), "latency at 50/s, p99", most=2),
        *_ahead(results, "drain", "drain"),
        *_ahead(results, "e2e", "end to end"),
        _embedded(embedded),
        _history(growth),
        _pages(growth),
        _kill(find("insert", "missing", "bus"), find("insert", "duplicated", "bus")),
    ]


def table(found: list[Verdict]) -> str:
    head = ["| target | asked | measured | range | |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(verdict.line for verdict in found)])


def _finder(results: list[Row]) -> Callable[[str, str, str], Row | None]:
    by_key = {(row["handler"], row["measure"], row["system"]): row for row in results}
    return lambda *key: by_key.get(key)


def _ratio(row: Row | None, title: str, *, least: float = 0.0, most: float | None = None) -> Verdict:
    target = f"at most {most:g}x tuned Celery" if most else f"at least {least:g}x tuned Celery"
    if row is None or row["ratio"] is None:
        return Verdict(title=title, target=target)
    is_met = row["ratio"] <= most if most else row["ratio"] >= least
    spread = f"{row['ratio_min']:.2f}-{row['ratio_max']:.2f}, {row['runs']} pairs"
    return Verdict(title=title, target=target, figure=f"{row['ratio']:.2f}x", spread=spread, state=_state(is_met))


def _state(is_met: bool) -> str:
    return "met" if is_met else "**missed**"


def _ahead(results: list[Row], measure: str, words: str) -> list[Verdict]:
    """Compare by the ratios to Celery, as those are paired within a round."""
    rows = {row["system"]: row for row in results if row["handler"] == "insert" and row["measure"] == measure}
    durable = Verdict(title=f"ahead of any other durable peer: {words}", target="above 1x the best")
    others = Verdict(title=f"beside peers that send after the commit: {words}", target="-")
    return [_beside_best(rows, durable, is_durable=True), _beside_best(rows, others, is_durable=False)]


def _beside_best(rows: dict[str, Row], verdict: Verdict, *, is_durable: bool) -> Verdict:
    peers = [
        row for name, row in rows.items()
        if SYSTEMS[name].is_peer and SYSTEMS[name].is_durable == is_durable and row["ratio"]
    ]  # fmt: skip
    if not peers or "bus" not in rows:
        return verdict
    best = max(peers, key=lambda row: float(row["ratio"]))
    ratio = rows["bus"]["ratio"] / best["ratio"]
    return replace(
        verdict, figure=f"{ratio:.2f}x {SYSTEMS[best['system']].title}, the best of {len(peers)}",
        spread=f"both beside Celery, {rows['bus']['runs']} and {best['runs']} pairs",
        state=_state(ratio > 1) if is_durable else "not asked for",
    )  # fmt: skip


def _sustained(found: Row | None) -> Verdict:
    title = f"sustained, 4 producers at 80 % of the limit, {found['minutes'] if found else 10:g} minutes"
    target = "backlog flat, no growth of any hot table"
    if not found:
        return Verdict(title=title, target=target)
    figure = (
        f"{found['rate']:,.0f}/s; backlog {found['backlog'][0]:.0f}, then {found['backlog'][1]:.0f};"
        f" hot tables {found['hot_mb'][0]:.1f} MB, then {found['hot_mb'][1]:.1f}"
    )
    spread = f"at most {found['most_backlog']:,} waiting"
    return Verdict(title=title, target=target, figure=figure, spread=spread, state=_state(found["is_flat"]))


def _embedded(found: Row | None) -> Verdict:
    title, target = "embedded on SQLite", "at least tuned Celery's drain on Redis"
    if not found:
        return Verdict(title=title, target=target)
    drain = found["drain"]
    return Verdict(
        title=title, target=target, figure=f"{drain['ratio']:.2f}x", state=_state(drain["ratio"] >= 1),
        spread=f"{drain['min']:.2f}-{drain['max']:.2f}, {found['rounds']} pairs",
    )  # fmt: skip


def _publish(growth: dict[str, Any] | None) -> list[Verdict]:
    trips = Verdict(title="publish, round trips", target="at most 1 more than the bare transaction")
    cpu = Verdict(title="publish, CPU", target="at most that of one more INSERT")
    if not growth or "history" not in growth:
        return [trips, cpu]
    steps = growth["history"]["steps"]
    more = steps["publish"]["round_trips"] - steps["order"]["round_trips"]
    bare, two, published = (_cpu(steps[name]) for name in ("order", "two_orders", "publish"))
    return [
        Verdict(title=trips.title, target=trips.target, figure=f"{more:g} more", state=_state(more <= 1)),
        Verdict(
            title=cpu.title, target=cpu.target, state=_state(published <= two),
            figure=f"{published - bare:.2f} ms more; one more INSERT by the ORM {two - bare:.2f} ms",
        ),
    ]  # fmt: skip


def _cpu(step: dict[str, float]) -> float:
    return step["python_ms"] + step["database_ms"]


def _history(growth: dict[str, Any] | None) -> Verdict:
    title, target = "drain with 10 M stored messages, by CPU", "at least 0.9 of an empty one"
    if not growth or "history" not in growth:
        return Verdict(title=title, target=target)
    found = growth["history"]
    return Verdict(
        title=title, target=target, figure=f"{found['deliver_ratio']:.2f} at {growth['stored']:,}",
        spread=f"{found['ratio_min']:.2f}-{found['ratio_max']:.2f}",
        state=_at_history(growth, found["deliver_ratio"] >= 0.9),
    )  # fmt: skip


def _pages(growth: dict[str, Any] | None) -> Verdict:
    title, target = (
        "any console page with 10 M stored messages",
        f"p95 under {PAGE_MS} ms, at most {PAGE_QUERIES} queries",
    )
    if not growth or "pages" not in growth:
        return Verdict(title=title, target=target)
    pages = growth["pages"]
    slowest = max(pages, key=lambda name: pages[name]["p95_ms"])
    most = max(pages, key=lambda name: pages[name]["queries"])
    p95, queries = pages[slowest]["p95_ms"], pages[most]["queries"]
    broken = [f"{name}: {page['status']}" for name, page in pages.items() if page["status"] not in ANSWERED]
    figure = f"{p95:.0f} ms ({slowest}), {queries} queries ({most}) at {growth['stored']:,}"
    figure += f"; not answered: {', '.join(broken)}" if broken else ""
    return Verdict(
        title=title, target=target, figure=figure, spread=f"{len(pages)} pages",
        state=_at_history(growth, p95 < PAGE_MS and queries <= PAGE_QUERIES and not broken),
    )  # fmt: skip


def _at_history(growth: dict[str, Any], is_met: bool) -> str:
    if is_met and growth["stored"] < HISTORY:
        return f"met at {growth['stored']:,}; not measured at 10 M"
    return _state(is_met)


def _kill(missing: Row | None, duplicated: Row | None) -> Verdict:
    title = "lost or duplicated under kill -9"
    if missing is None or duplicated is None:
        return Verdict(title=title, target="0")
    lost, twice = missing["max"], duplicated["max"]
    return Verdict(
        title=title, target="0", figure=f"{lost:.0f} lost, {twice:.0f} duplicated", spread=f"{missing['runs']} runs",
        state=_state(lost == 0 == twice),
    )  # fmt: skip
