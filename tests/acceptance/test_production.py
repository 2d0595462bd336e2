from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import httpx
import pytest

from tests.processes import ROOT, Deployment, Program, eventually

STOP_SECONDS = 10.0
ROLES = ("web", "relay", "worker", "scheduler")


def start_all(production: Deployment) -> dict[str, Program]:
    programs = {role: production.start(role, SIGNALBOX_ROLE=role) for role in ROLES}
    programs["web"].wait_for("Serving")
    programs["worker"].wait_for(" ready.")
    eventually(lambda: not problems(production), what="a healthy deployment")
    return programs


def problems(production: Deployment) -> list[str]:
    """Return what ``manage.py doctor`` finds wrong with the running system."""
    command = [sys.executable, "manage.py", "doctor", "--json"]
    result = subprocess.run(command, cwd=ROOT, env=production.env, capture_output=True, text=True, check=False)
    findings = json.loads(result.stdout)["findings"]
    expected_here = {"static files"}  # nothing is collected outside the image
    return [each["text"] for each in findings if each["level"] == "problem" and each["area"] not in expected_here]


class TestRoles:
    def test_deliver_orders_together(self, production: Deployment) -> None:
        start_all(production)
        address = f"http://127.0.0.1:{production.env['PORT']}"
        assert httpx.get(f"{address}/readyz", trust_env=False).json()["status"] == "ready"
        production.run("loadgen", "--via", address, "--orders", "30", "--rate", "0", "--failures", "0")
        report = production.drain()
        assert report["is_sound"], report
        assert sum(consumer["handled"] for consumer in report["consumers"]) == 30 * 4

    def test_end_in_time_when_asked_and_sign_off(self, production: Deployment) -> None:
        programs = start_all(production)
        production.run("loadgen", "--orders", "50", "--rate", "0")
        started = time.monotonic()
        for program in programs.values():
            program.signal(signal.SIGTERM)
        for role, program in programs.items():
            program.wait()
            assert "Traceback" not in program.output, role
        assert time.monotonic() - started < STOP_SECONDS
        gone = {f"No {role} is alive" for role in ("relay", "worker", "scheduler")}
        assert gone <= {text.partition(":")[0] for text in problems(production)}


class TestDoctor:
    def test_names_each_role_that_is_missing_and_how_to_start_it(self, production: Deployment) -> None:
        program = production.start("doctor")
        assert program.wait() == 1
        for role in ("relay", "worker", "scheduler"):
            assert f"No {role} is alive" in program.output
            assert f"Start one: manage.py {role}" in program.output

    def test_names_a_database_that_does_not_answer(self, production: Deployment) -> None:
        program = production.start("doctor", DATABASE_URL="postgresql://nobody@127.0.0.1:1/bus")
        assert program.wait() == 1
        assert "Cannot connect" in program.output
        assert "Traceback" not in program.output

    def test_names_a_broker_that_does_not_answer(self, production: Deployment) -> None:
        program = production.start("doctor", CELERY_BROKER_URL="redis://127.0.0.1:1/0")
        assert program.wait() == 1
        assert "Check CELERY_BROKER_URL" in program.output

    @pytest.mark.parametrize(
        ("setting", "value", "remedy"),
        [
            ("DEBUG", "1", "Unset DEBUG"),
            ("SECRET_KEY", "secret", "Set it to a long random value"),
            ("ALLOWED_HOSTS", "*", "Name the hosts"),
            ("REDIS_URL", "", "Set REDIS_URL"),
        ],
    )
    def test_names_an_unsafe_setting_and_its_remedy(
        self, production: Deployment, setting: str, value: str, remedy: str
    ) -> None:
        program = production.start("doctor", **{setting: value})
        assert program.wait() == 1
        assert remedy in program.output


class TestRabbitMQ:
    def test_carries_the_wake_ups_as_well(self, production: Deployment, rabbitmq: str) -> None:
        production.env["CELERY_BROKER_URL"] = rabbitmq
        start_all(production)
        production.run("loadgen", "--orders", "10", "--rate", "0", "--failures", "0")
        report = production.drain()
        assert report["is_sound"], report
        assert sum(consumer["handled"] for consumer in report["consumers"]) == 10 * 4
