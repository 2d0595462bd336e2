"""A collector that is not there, or never answers, costs its own spans and nothing else."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from console import telemetry
from messaging.testing import run_until_idle
from tests.factories import arrive, ledger
from tests.processes import ROOT, eventually
from tests.traced import provide

LOGGERS = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")
MESSAGES = 30
WORK = """
import sys

import django

django.setup()
from messaging import tracing

with tracing.tracer().start_as_current_span("work"):
    pass
sys.stdin.readline()
"""


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


@pytest.fixture(params=["closed", "silent"])
def endpoint(request: pytest.FixtureRequest) -> str:
    if request.param == "closed":
        return "http://127.0.0.1:9"  # nobody listens on the discard port
    return address(request.getfixturevalue("silent"))


def address(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.django_db(transaction=True)
class TestCollectorAway:
    def test_holds_up_no_message_and_says_so_once(
        self, station: Any, endpoint: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in LOGGERS:
            monkeypatch.setattr(logging.getLogger(name), "filters", [])
        sent: list[object] = []
        send = OTLPSpanExporter.export
        monkeypatch.setattr(OTLPSpanExporter, "export", lambda self, spans: sent.append(send(self, spans)))
        for name, value in {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1",
            "OTEL_BSP_SCHEDULE_DELAY": "10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8", "OTEL_BSP_MAX_QUEUE_SIZE": "64",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("django.conf.settings.TRACE_RATIO", 1.0)
        provider = provide(monkeypatch, telemetry.exporting())
        station.declare()
        for number in range(MESSAGES):
            arrive(f"ICE {number}")
        run_until_idle()
        assert len(ledger()) == MESSAGES
        eventually(lambda: len(sent) >= 3, what="three exports that failed")
        provider.shutdown()
        assert {getattr(result, "name", "") for result in sent} == {"FAILURE"}
        told = [record.name for record in caplog.records if record.name in LOGGERS]
        assert LOGGERS[0] in told
        assert len(told) == len(set(told))
        assert not [record for record in caplog.records if record.exc_info]


class TestProcess:
    def test_ends_though_the_collector_owes_it_an_answer(self, silent: socket.socket, tmp_path: Path) -> None:
        given = {
            "DJANGO_SETTINGS_MODULE": "console.settings", "SECRET_KEY": "of-the-tests-only", "SIGNALBOX_TRACING": "1",
            "SIGNALBOX_HOME": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path / 'empty.db'}",
            "OTEL_TRACES_SAMPLER_ARG": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": address(silent),
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3600", "OTEL_BSP_SCHEDULE_DELAY": "10",
        }  # fmt: skip
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-c", WORK], cwd=ROOT, env={**kept, **given}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        connection, _ = silent.accept()  # now its exporter waits, for an hour if it were asked to
        with connection:
            _, said = process.communicate("\n", timeout=120)
        assert process.returncode == 0
        assert "Traceback" not in said


class TestSeldom:
    def test_lets_one_record_pass_and_counts_the_others(self) -> None:
        seldom = telemetry.Seldom(seconds=3600)
        records = [logging.LogRecord("away", logging.ERROR, "", 0, "no %s", ("answer",), None) for _ in range(4)]
        assert [seldom.filter(record) for record in records] == [True, False, False, False]
        seldom._until = 0.0
        assert seldom.filter(records[0])
        assert records[0].getMessage() == "no answer (3 records like it were held back)"
