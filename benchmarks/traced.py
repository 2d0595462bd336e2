"""What tracing costs, as the report shows it."""

from __future__ import annotations

from typing import Any

TITLES = {"without": "none", "default": "one trace of fifty (default)", "all": "every trace"}


TARGET = 0.90
"""Least throughput at the default sampling, beside none."""


def verdict(arm: dict[str, Any]) -> str:
    """Judge by the whole interval: a median on the right side of the target is luck while the interval holds it."""
    if arm["low"] >= TARGET:
        return "met"
    return "missed" if arm["high"] < TARGET else "not decided: the interval holds it"


def text(overhead: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = "\n".join(
        f"| {TITLES[name]} | {arm['publish']:.3f} | {arm['relay']:.3f} | {arm['deliver']:.3f} | {arm['all']:.3f} |"
        f" {arm['throughput']:.2f} | {arm['low']:.2f}-{arm['high']:.2f} | {arm['min']:.2f}-{arm['max']:.2f} |"
        for name, arm in overhead["arms"].items()
    )
    return (
        f"Measured {overhead['at']} (load average {overhead['load']}), {overhead['blocks']} blocks of {overhead['n']}"
        " orders in turns. CPU milliseconds per event (also seconds per 1,000), Python and PostgreSQL together, the"
        " keeping of spans included; throughput is that bound by CPU, beside the same block without tracing. The target"
        f" of at least {TARGET:.2f} at the default sampling is {verdict(overhead['arms']['default'])}.\n\n"
        "| traces recorded | publish | relay | deliver | all | throughput | 95 % | range |\n"
        "|---|---|---|---|---|---|---|---|\n"
        f"{lines}"
    )
