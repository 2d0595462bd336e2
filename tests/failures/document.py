"""docs/saga-failures.md, written from what happened."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.failures import MODES, Group, Run, Scenario, short

PATH = Path(__file__).resolve().parents[2] / "docs" / "saga-failures.md"
_HEAD = """# What becomes of a saga when something fails

Generated from runs of the example flows; do not edit. `pytest tests/integration/test_saga_failures.py` fails when
this is not what happens, and with `--rewrite-docs` it writes what happens.

Every message that a consumer handles on the way fails in three ways, each in a flow of its own: the consumer
**dies once after its work**, before that is committed or noted; it **fails for ever**, so that its retries end in a
dead letter; or it **is late** and does its work three days afterwards, when every timeout is over. A cell says in which
state the flow comes to rest and which completed steps were undone, in this order (appointments, whose steps run side by
side: in the reverse of whatever order they were completed in). † says that a dead letter waits for
a person, who can replay it.
"""


def render(played: Iterable[tuple[Scenario, list[Group]]]) -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *(_flow(scenario, groups) for scenario, groups in played)])


def _flow(scenario: Scenario, groups: list[Group]) -> str:
    happy, others = groups[0], groups[1:]
    refused = [group for group in others if group.base.refusal]
    lines = [f"## {scenario.title}", "", f"Without a failure: {happy.ending}.", "", *_steps(happy)]
    if refused:
        lines += ["| refused or slow | completed | comes to rest in |", "|---|---|---|"]
        lines += [f"| {each.base.name} | {_names(each.ending.completed)} | {each.ending} |" for each in refused]
        lines.append("")
    for group in others:
        if group.steps:
            lines += [f"When {_sentence(group.base)}, it comes to rest in {group.ending}, and on the way there:", ""]
            lines += _steps(group)
    return "\n".join(lines)


def _sentence(run: Run) -> str:
    return f"it meets “{run.refusal}”" if run.refusal else run.name


def _steps(group: Group) -> list[str]:
    lines = [f"| consumer, message | {' | '.join(MODES)} |", f"|---{'|---' * len(MODES)}|"]
    for (consumer, contract), endings in group.steps.items():
        cells = " | ".join(str(endings[mode]) for mode in MODES)
        lines.append(f"| `{consumer}` {short(contract)} | {cells} |")
    return [*lines, ""]


def _names(steps: tuple[str, ...]) -> str:
    return ", ".join(steps) or "–"
