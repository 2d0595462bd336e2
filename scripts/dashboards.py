"""Write the Grafana dashboards of deploy/grafana/dashboards: what they show stands here, the JSON is made of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from bootstrap import ROOT

FOLDER = ROOT / "deploy" / "grafana" / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
BY_CONSUMER = '{consumer=~"$consumer"}'
COLUMNS = 24


@dataclass(frozen=True)
class Panel:
    """One panel: a title, its queries with their legends, and how it is drawn."""

    title: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    description: str = ""
    red_from: float | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    panels: tuple[Panel, ...]


def stat(title: str, query: str, *, unit: str = "short", red_from: float | None = None, width: int = 4) -> Panel:
    return Panel(title, ((query, ""),), "stat", unit, width, 4, red_from=red_from)


def chart(title: str, *queries: tuple[str, str], unit: str = "short", width: int = 8, text: str = "") -> Panel:
    return Panel(title, queries, unit=unit, width=width, description=text)


OVERVIEW = Dashboard(
    "signalbox-overview",
    "Signalbox: overview",
    (
        stat("Published a minute", "signalbox:published:rate5m * 60"),
        stat("Backlog", "signalbox_backlog"),
        stat("Oldest unhandled", "max(signalbox_consumer_oldest_age_seconds)", unit="s", red_from=300),
        stat("Dead letters", "signalbox_dead_letters", red_from=1),
        stat("Outbox lag", "signalbox_outbox_lag_seconds", unit="s", red_from=30),
        stat("Workers alive", "signalbox_workers_alive"),
        chart("Events a minute", ("sum by (type) (rate(signalbox_published_total[5m])) * 60", "{{type}}"), width=12),
        chart(
            "Outcomes a minute",
            ("sum by (outcome) (rate(signalbox_attempts_total[5m])) * 60", "{{outcome}}"),
            width=12,
            text="Executions of deliveries by how they ended.",
        ),
        chart("Share that fails", ("consumer:signalbox_failed:ratio5m", "{{consumer}}"), unit="percentunit"),
        chart("Consumer lag", ("signalbox_consumer_oldest_age_seconds", "{{consumer}}"), unit="s"),
        chart("Waiting deliveries", ("signalbox_consumer_backlog", "{{consumer}}")),
        chart("Dead letters", ("signalbox_consumer_dead_letters", "{{consumer}}")),
        chart("Critical time, p95", ("consumer:signalbox_critical_time_seconds:p95", "{{consumer}}"), unit="s"),
        Panel(
            "Critical time, all consumers",
            (("sum by (le) (increase(signalbox_critical_time_seconds_bucket[5m]))", "{{le}}"),),
            kind="heatmap",
            unit="s",
            description="From the producer's commit to handled.",
        ),
    ),
)
CONSUMER = Dashboard(
    "signalbox-consumer",
    "Signalbox: one consumer",
    (
        stat("Waiting", f"sum(signalbox_consumer_backlog{BY_CONSUMER})"),
        stat("Running", f"sum(signalbox_consumer_running{BY_CONSUMER})"),
        stat("Due later", f"sum(signalbox_consumer_waiting{BY_CONSUMER})"),
        stat("Oldest", f"max(signalbox_consumer_oldest_age_seconds{BY_CONSUMER})", unit="s", red_from=300),
        stat("Dead letters", f"sum(signalbox_consumer_dead_letters{BY_CONSUMER})", red_from=1),
        stat("Paused", f"max(signalbox_consumer_paused{BY_CONSUMER})"),
        chart(
            "Outcomes a second",
            (f"sum by (outcome) (rate(signalbox_attempts_total{BY_CONSUMER}[5m]))", "{{outcome}}"),
            width=12,
        ),
        chart(
            "By type a second",
            (f"sum by (type) (rate(signalbox_attempts_total{BY_CONSUMER}[5m]))", "{{type}}"),
            width=12,
        ),
        chart(
            "Critical time",
            (f"consumer:signalbox_critical_time_seconds:p50{BY_CONSUMER}", "p50 {{consumer}}"),
            (f"consumer:signalbox_critical_time_seconds:p95{BY_CONSUMER}", "p95 {{consumer}}"),
            unit="s",
        ),
        chart(
            "Processing time, p95",
            (f"consumer:signalbox_processing_time_seconds:p95{BY_CONSUMER}", "{{consumer}}"),
            unit="s",
        ),
        chart(
            "Wake-up latency, p95",
            (f"consumer:signalbox_wakeup_latency_seconds:p95{BY_CONSUMER}", "{{consumer}}"),
            unit="s",
            text="From due to claimed.",
        ),
        Panel(
            "Critical time",
            ((f"sum by (le) (increase(signalbox_critical_time_seconds_bucket{BY_CONSUMER}[5m]))", "{{le}}"),),
            kind="heatmap",
            unit="s",
            width=24,
        ),
    ),
)
BUS = Dashboard(
    "signalbox-bus",
    "Signalbox: the bus itself",
    (
        stat("Outbox rows", "signalbox_outbox_rows"),
        stat("Outbox lag", "signalbox_outbox_lag_seconds", unit="s", red_from=30),
        stat("Relays alive", "signalbox_relays_alive"),
        stat("Workers alive", "signalbox_workers_alive"),
        stat("Quarantined", "signalbox_quarantined", red_from=1),
        stat("Audit chain problems", "signalbox_audit_chain_problems", red_from=1),
        chart("Outbox", ("signalbox_outbox_rows", "rows"), ("signalbox_outbox_lag_seconds", "lag, s")),
        chart("Relayed a second", ("sum by (consumer) (rate(signalbox_relayed_total[5m]))", "{{consumer}}")),
        chart(
            "Rescued and crashed an hour",
            ("sum(increase(signalbox_rescued_total[1h]))", "rescued"),
            ("sum(increase(signalbox_crashes_total[1h]))", "crashed"),
            text="Rescued: taken back from a worker that died. Crashed: the process died while the message ran alone.",
        ),
        chart("Not sealed yet", ("signalbox_audit_unsealed", "transactions")),
        chart("Processes", ("signalbox_workers_alive", "workers"), ("signalbox_relays_alive", "relays")),
        chart("Releases", ("signalbox_build", "{{release}}")),
        chart("Unfinished sagas", ("sum by (saga, state) (signalbox_sagas)", "{{saga}}: {{state}}")),
        chart("Sagas held by a dead letter", ("sum by (saga) (signalbox_sagas_failed)", "{{saga}}")),
    ),
)
DASHBOARDS = (OVERVIEW, CONSUMER, BUS)


def queries() -> list[str]:
    """Return every query of every dashboard, with its variables replaced by "all"."""
    return [
        query.replace("$consumer", ".*")
        for dashboard in DASHBOARDS
        for panel in dashboard.panels
        for query, _ in panel.queries
    ]


def document(dashboard: Dashboard) -> str:
    """Return a dashboard as Grafana's JSON."""
    has_variable = any("$consumer" in query for panel in dashboard.panels for query, _ in panel.queries)
    model = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["signalbox"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "graphTooltip": 1,  # one cursor over all charts
        "templating": {"list": [_variable()] if has_variable else []},
        "panels": list(_placed(dashboard.panels)),
    }
    return json.dumps(model, indent=1) + "\n"


def _variable() -> dict[str, Any]:
    return {
        "name": "consumer", "type": "query", "datasource": DATASOURCE, "refresh": 2, "sort": 1, "includeAll": True,
        "allValue": ".*", "current": {"text": "All", "value": "$__all"},
        "query": {"query": "label_values(signalbox_consumer_backlog, consumer)", "refId": "consumer"},
    }  # fmt: skip


def _placed(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """Lay panels out in rows, from left to right."""
    x = y = row = 0
    placed = []
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > COLUMNS:
            x, y, row = 0, y + row, 0
        placed.append(_panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x, row = x + panel.width, max(row, panel.height)
    return placed


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "text" if panel.kind == "stat" else "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    targets = [
        {
            "refId": chr(ord("A") + place_in_panel), "datasource": DATASOURCE, "expr": query, "legendFormat": legend,
            "format": "heatmap" if panel.kind == "heatmap" else "time_series",
        }
        for place_in_panel, (query, legend) in enumerate(panel.queries)
    ]  # fmt: skip
    return {
        "id": number, "type": panel.kind, "title": panel.title, "description": panel.description, "gridPos": place,
        "datasource": DATASOURCE, "targets": targets, "options": panel.options,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
    }  # fmt: skip


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.uid}.json").write_text(document(dashboard))


if __name__ == "__main__":
    main()
