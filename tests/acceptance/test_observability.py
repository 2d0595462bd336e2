"""The dashboards, rules and alerts of deploy/, asked of a real Prometheus that scrapes a real Signalbox."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from tests.processes import ROOT, Deployment, TookTooLong, eventually
from tests.servers import Process, free_port

PROMETHEUS = ROOT / "deploy" / "prometheus"
THRESHOLD = re.compile(r"\s+[<>]=?\s+[\d.]+$")
TOKEN = "of-the-scraper"


def dashboards() -> Any:
    import dashboards

    return dashboards


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool on this machine; Debian: apt-get install prometheus")
    return found


@pytest.fixture(scope="module")
def signalbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running Signalbox with sample orders, some of which fail; its address."""
    deployment = Deployment(
        tmp_path_factory.mktemp("scraped"), PORT=str(free_port()), SIGNALBOX_METRICS_TOKEN=TOKEN,
        SIGNALBOX_RELEASE="2026.11.1",
    )  # fmt: skip
    up = deployment.start("up")
    up.wait_for("Signalbox runs at")
    yield f"127.0.0.1:{deployment.env['PORT']}"
    deployment.end()


@pytest.fixture(scope="module")
def prometheus(promtool: str, signalbox: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus with the configuration of deploy/, but for the address and a faster scrape."""
    directory = tmp_path_factory.mktemp("prometheus")
    (directory / "token").write_text(TOKEN)
    config = YAML(typ="safe").load(PROMETHEUS / "prometheus.yml")
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    [job] = config["scrape_configs"]
    job["authorization"]["credentials_file"] = str(directory / "token")
    job["static_configs"][0]["targets"] = [signalbox]
    (directory / "prometheus.yml").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    server = Process(
        [
            str(shutil.which("prometheus")), f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address={address}",
        ],
        directory=directory,
    )  # fmt: skip
    with httpx.Client(base_url=f"http://{address}/api/v1", trust_env=False) as client:
        eventually(lambda: has_data(client, 'up{job="signalbox"} == 1'), what="the first scrape")
        # A rate needs two scrapes, what is recorded of it another evaluation.
        eventually(lambda: has_data(client, "consumer:signalbox_failed:ratio5m > 0"), what="a failure's rate")
        yield client
    server.stop()


def has_data(client: httpx.Client, query: str) -> bool:
    try:
        response = client.get("/query", params={"query": query})
    except httpx.TransportError:
        return False
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:  # it reads its log first
        return False
    answer = response.json()
    assert answer["status"] == "success", answer
    return bool(answer["data"]["result"])


def without_data(client: httpx.Client, queries: Iterable[str]) -> list[str]:
    """Return the queries that stay without an answer: some flows of the sample have further to go than others."""
    missing = list(queries)

    def is_all_there() -> bool:
        missing[:] = [query for query in missing if not has_data(client, query)]
        return not missing

    with suppress(TookTooLong):
        eventually(is_all_there, what="data for every query")
    return missing


class TestRules:
    def test_are_valid_and_raise_what_they_should(self, promtool: str) -> None:
        for command in (["check", "rules", "recording.yml", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
            ran = subprocess.run([promtool, *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stdout + ran.stderr

    def test_say_what_to_do(self) -> None:
        for rule in alerts():
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["action"]
            assert rule["labels"]["severity"] in {"page", "ticket"}


def alerts() -> list[dict[str, Any]]:
    [group] = YAML(typ="safe").load(PROMETHEUS / "alerts.yml")["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def recorded() -> list[dict[str, str]]:
    [group] = YAML(typ="safe").load(PROMETHEUS / "recording.yml")["groups"]
    found: list[dict[str, str]] = group["rules"]
    return found


class TestDashboards:
    def test_are_made_of_what_the_script_says(self) -> None:
        module = dashboards()
        written = {path.name: path.read_text() for path in module.FOLDER.glob("*.json")}
        assert written == {f"{each.uid}.json": module.document(each) for each in module.DASHBOARDS}

    def test_have_data_for_every_query(self, prometheus: httpx.Client) -> None:
        assert without_data(prometheus, dashboards().queries()) == []

    def test_and_alerts_measure_what_is_there(self, prometheus: httpx.Client) -> None:
        assert without_data(prometheus, [THRESHOLD.sub("", str(rule["expr"])) for rule in alerts()]) == []

    def test_rest_on_recorded_rules_that_have_data(self, prometheus: httpx.Client) -> None:
        assert without_data(prometheus, [rule["record"] for rule in recorded()]) == []

    def test_and_rules_name_only_metrics_that_are_exposed(self, signalbox: str) -> None:
        answer = httpx.get(f"http://{signalbox}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False)
        exposed = set(re.findall(r"^# TYPE (\S+)", answer.text, re.MULTILINE))
        asked = " ".join([*dashboards().queries(), *(str(rule["expr"]) for rule in [*alerts(), *recorded()])])
        named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"(?<!:)\bsignalbox_[a-z_]+", asked)}
        assert named <= exposed
