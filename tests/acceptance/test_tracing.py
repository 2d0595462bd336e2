"""One order is one trace over real processes, though the collector is away; a service in Node joins it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.acceptance.test_up import url
from tests.processes import Deployment, eventually

SERVICE = Path(__file__).parent / "node_service"
NOBODY = "http://127.0.0.1:9"
"""Nobody listens on the discard port."""


@pytest.fixture
def bus(production: Deployment) -> Deployment:
    """Every role as a process of its own, every trace recorded, the collector away."""
    production.env |= {"OTEL_TRACES_SAMPLER_ARG": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY}
    for role in ("web", "relay", "worker"):
        production.start(role)
    eventually(lambda: _answers(production), what="the start of the web process")
    return production


def _answers(bus: Deployment) -> bool:
    try:
        return httpx.get(f"{url(bus)}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def token(bus: Deployment, *scopes: str) -> str:
    printed = bus.run("tokens", "create", "--name", uuid4().hex, "--scopes", ",".join(scopes), "--json").output
    return str(json.loads(printed)["token"])


def order(bus: Deployment, card: str) -> str:
    """Place an order over HTTP as a browser does; return the trace id that it came with."""
    trace_id = uuid4().hex
    answer = httpx.post(
        f"{url(bus)}/shop/orders",
        headers={"traceparent": f"00-{trace_id}-{uuid4().hex[:16]}-01"},
        json={
            "customer_email": "fay@example.com", "language": "en", "card_token": card, "currency": "EUR",
            "items": [{"sku": "MUG-BLUE", "quantity": 1, "unit_price": "12.95"}],
        },
        trust_env=False,
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    return trace_id


def spans_of(bus: Deployment, trace_id: str, reader: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {reader}"}
    answer = httpx.get(f"{url(bus)}/api/v1/traces/{trace_id}", headers=headers, trust_env=False)
    return list(answer.json()["spans"]) if answer.status_code == 200 else []


class TestOneOrder:
    def test_is_one_connected_trace_from_the_request_to_the_last_mail(self, bus: Deployment) -> None:
        reader = token(bus, "read")
        trace_id = order(bus, "tok_slow_gateway")  # its payment needs several attempts

        def processed() -> list[dict[str, Any]]:
            return [each for each in spans_of(bus, trace_id, reader) if each["name"].startswith("process ")]

        def is_mailed() -> bool:
            return any(each["name"] == "process notification.send_email" for each in processed())

        eventually(is_mailed, what="the span of the last mail", seconds=60)
        spans = spans_of(bus, trace_id, reader)
        by_id = {each["span_id"]: each for each in spans}
        roots = [each["name"] for each in spans if each["parent_id"] not in by_id]
        assert roots == ["POST shop/orders"]
        names = {each["name"] for each in spans}
        assert {"publish ecommerce.OrderPlaced", "relay", "process inventory.reserve_stock"} <= names
        payments = [each for each in processed() if each["consumer"] == "billing.charge_card"]
        # What met another transaction and ran again at once is there too.
        outcomes = [said for each in payments if (said := each["attributes"]["signalbox.outcome"]) != "run_again"]
        assert outcomes == ["retried"] * (len(outcomes) - 1) + ["handled"]
        assert len(outcomes) > 1


class TestAnotherService:
    def test_in_node_joins_the_flow_with_the_official_exporter(self, bus: Deployment, tmp_path: Path) -> None:
        npm, node = shutil.which("npm"), shutil.which("node")
        if npm is None or node is None:
            pytest.skip("no Node.js: install it (Debian: apt-get install nodejs npm)")
        here = tmp_path / "service"
        shutil.copytree(SERVICE, here)
        subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=here, check=True, timeout=300)
        reader, sender = token(bus, "read"), token(bus, "trace")
        trace_id = order(bus, "tok_visa")
        eventually(lambda: spans_of(bus, trace_id, reader), what="the first span of the order")
        published = next(each for each in spans_of(bus, trace_id, reader) if each["name"].startswith("publish "))
        settings = {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{url(bus)}/v1/traces",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"Authorization=Bearer {sender}",
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "gzip",
        }
        traceparent = f"00-{trace_id}-{published['span_id']}-01"
        ran = subprocess.run(
            [node, "service.mjs", traceparent, published["correlation_id"]],
            cwd=here, env={**os.environ, **settings}, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr

        theirs = {each["name"]: each for each in spans_of(bus, trace_id, reader) if each["service"] == "node-payments"}
        assert set(theirs) == {"charge card", "POST acquirer"}, ran.stderr
        assert theirs["charge card"]["parent_id"] == published["span_id"]
        assert theirs["POST acquirer"]["parent_id"] == theirs["charge card"]["span_id"]
        assert theirs["POST acquirer"]["status"] == "error"
