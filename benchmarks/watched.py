"""The live feed as the report shows it."""

from __future__ import annotations

from typing import Any


def is_sound(found: dict[str, Any]) -> bool:
    """Tell whether every event was handled exactly once and no browser was let down."""
    return not any(found[name] for name in ("missing", "duplicated", "error", "disconnects", "errors"))


def text(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    cpu = ", ".join(f"{name} {share:.2f}" for name, share in found["cpu_per_second"].items())
    memory = found["web_mb"]
    facts = {
        "events published a second": f"{found['published_per_second']:,.0f}",
        "events handled a second": f"{found['handled_per_second']:,.0f}",
        "not handled yet when the load ended": (
            f"{found['backlog']:,}; all handled {found['drained_in_seconds']:.1f} s later"
        ),
        "hints a second to each browser": f"{found['hints_per_browser_per_second']:.1f}",
        "from COMMIT to the hint in a browser, ms": f"{_spread(found['hint_ms'])}; {found['marks_heard']:.0%} heard",
        "parts read again a second": f"{found['fetches_per_second']:.0f}",
        "reading one, as the browser sees it, ms": _spread(found["fetch_ms"]),
        "how late the browsers themselves were, ms": _spread(found["browsers_late_ms"]),
        "CPU seconds a second": cpu,
        "memory of the web process": f"{memory['start']:.0f} MB, {memory['end']:.0f} MB at the end",
    }
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    parts = "\n".join(
        f"| `{name}` | {part['per_second']:.1f} | {part['p50']:.0f} | {part['p95']:.0f} | {part['p99']:.0f} |"
        for name, part in found["parts"].items()
    )
    return (
        f"Measured {found['at']} on {found['cores']} cores (load average {found['load']}; the browsers and the producer"
        f" share them): {found['browsers']} browsers, {found['rate']:,.0f} events a second asked for, for"
        f" {found['seconds']:g} s. {_verdict(found)}\n\n"
        f"| | |\n|---|---|\n{lines}\n\n"
        f"| page and part | a second | p50 ms | p95 ms | p99 ms |\n|---|---|---|---|---|\n{parts}"
    )


def _verdict(found: dict[str, Any]) -> str:
    if is_sound(found):
        return "Every event was handled exactly once; no browser was disconnected or got an error."
    failed = "; ".join(f"{count} × {what}" for what, count in found["errors"].items())
    return (
        f"Not sound: {found['missing']} missing, {found['duplicated']} handled more than once, {found['disconnects']}"
        f" disconnects. {failed} {found['error']}".rstrip()
    )


def _spread(values: dict[str, float]) -> str:
    if not values:
        return "not measured"
    return f"p50 {values['p50']:.0f}, p95 {values['p95']:.0f}, p99 {values['p99']:.0f}"
