"""The report of a run: Markdown for people, JSON for machines."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.counts import Count


@dataclass(frozen=True)
class Struck:
    """One fault that was done: seconds after the start, which, and what it hit."""

    at: float
    fault: str
    hit: str


@dataclass
class Report:
    """Everything worth knowing about one run."""

    broker: str
    seed: int
    minutes: float
    commit: str
    began_at: str
    struck: list[Struck] = field(default_factory=list)
    missed: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    no_space_errors: int = 0
    drained_in: float | None = None
    """Seconds from the end of the last fault and of the load; None: it was not drained."""
    count: Count = field(default_factory=Count)

    @property
    def violations(self) -> list[str]:
        not_drained = [] if self.drained_in is not None else ["I10 the backlog did not drain"]
        return [*not_drained, *self.count.violations]

    def verdict(self) -> str:
        count = self.count
        return (
            f"{len(self.struck)} faults, {count.messages:,} messages: {count.lost} lost, {count.duplicated} duplicated,"
            f" {count.unexpected} unexpected, {'everything drained' if self.drained_in is not None else 'NOT DRAINED'}"
            f"{'' if not self.violations else f', {len(self.violations)} violations'}"
        )

    def as_json(self) -> str:
        plain: dict[str, Any] = asdict(self)
        return json.dumps({"verdict": self.verdict(), "violations": self.violations, **plain}, indent=1, default=str)

    def as_markdown(self, does: dict[str, str]) -> str:
        return "\n".join([*self._head(), *self._publishes(), *self._deliveries(), *self._faults(does), *self._tail()])

    def write(self, directory: Path, does: dict[str, str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "report.json").write_text(self.as_json())
        (directory / "report.md").write_text(self.as_markdown(does))

    def _head(self) -> list[str]:
        return [
            f"### {self.minutes:g} minutes on PostgreSQL with {'RabbitMQ' if self.broker == 'rabbitmq' else 'Redis'}",
            "",
            f"**{self.verdict()}.** Began {self.began_at}, seed {self.seed}, commit {self.commit}.",
            "",
        ]

    def _publishes(self) -> list[str]:
        count = self.count
        return _table(
            "What the publisher was told", "publishes",
            {
                "attempted": count.attempted,
                "acknowledged": count.acknowledged,
                "refused or rolled back": count.refused,
                "indeterminate, and found committed (recovered)": count.unknown_committed,
                "indeterminate, and found rolled back": count.unknown_rolled_back,
                "**lost** (committed, and some consumer never came to its end)": count.lost,
                "**duplicated** (an effect or follow-up more than its promise allows)": count.duplicated,
                "**unexpected** (rolled back, and still seen)": count.unexpected,
            },
        )  # fmt: skip

    def _deliveries(self) -> list[str]:
        count = self.count
        drained = "never" if self.drained_in is None else f"{self.drained_in:.1f} s"
        return _table(
            "What the bus did", "",
            {
                "messages stored, follow-ups and copies included": f"{count.messages:,}",
                "deliveries handled": f"{count.deliveries:,}",
                "attempts by outcome": ", ".join(f"{n:,} {name}" for name, n in sorted(count.attempts.items())),
                "dead letters by reason, all repaired by the operator": ", ".join(
                    f"{n:,} {name}" for name, n in sorted(count.dead_letters.items())
                ),
                "at-least-once effects done again, as promised": f"{count.repeated_at_least_once:,}",
                "at-most-once effects not done, as promised": f"{count.skipped_at_most_once:,}",
                "longest time in which nothing was done": f"{count.longest_stall:.1f} s",
                "longest time from publish to a first run's effect": f"{count.slowest:.1f} s",
                "backlog empty after the last fault and publish": drained,
            },
        )  # fmt: skip

    def _faults(self, does: dict[str, str]) -> list[str]:
        times = Counter(struck.fault for struck in self.struck)
        rows = {f"{name}: {does[name]}": number for name, number in times.items()}
        rows |= {f"{name}: not here, {why}": 0 for name, why in self.left_out.items()}
        return _table(f"{len(self.struck)} faults", "times", rows)

    def _tail(self) -> list[str]:
        text = (
            f"COMMITs cut after they were carried out: {self.cuts.get('after', 0)}, before:"
            f" {self.cuts.get('before', 0)}. Errors of a full disk in PostgreSQL's log: {self.no_space_errors}."
            f" Processes that ended by themselves and were started again:"
            f" {', '.join(f'{name} {n}' for name, n in self.restarts.items() if n) or 'none'}."
        )
        return [text, "", *(f"- {violation}" for violation in self.violations[:50])]


def _table(title: str, unit: str, rows: dict[str, object]) -> list[str]:
    return [f"| {title} | {unit} |", "|---|--:|", *(f"| {name} | {value} |" for name, value in rows.items()), ""]
