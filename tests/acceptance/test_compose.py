"""Docker does not run everywhere the tests do: the files are checked against what they refer to."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
from django.core.management import get_commands
from ruamel.yaml import YAML

from tests.processes import ROOT

ROLES = ("web", "relay", "worker", "scheduler")
OURS = (*ROLES, "migrate")


@cache
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    return loaded


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][name]
    return found


class TestComposeFile:
    def test_follows_the_compose_specification(self) -> None:
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
        result = subprocess.run(
            [*command, str(ROOT / "docker-compose.yml")], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr

    def test_has_each_role_and_its_servers(self) -> None:
        always = {name for name, settings in compose()["services"].items() if not settings.get("profiles")}
        assert always == {*OURS, "postgres", "redis"}

    def test_keeps_what_only_watches_in_a_profile_that_nothing_waits_for(self) -> None:
        watching = {name for name, settings in compose()["services"].items() if settings.get("profiles")}
        assert watching == {"prometheus", "grafana", "collector"}
        assert not any(watching & set(service(name)["depends_on"]) for name in OURS)

    @pytest.mark.parametrize("name", OURS)
    def test_depends_on_services_that_exist_in_states_they_reach(self, name: str) -> None:
        for other, condition in service(name)["depends_on"].items():
            states = {"service_healthy": "healthcheck", "service_completed_successfully": "command"}
            assert states[condition["condition"]] in service(other)

    @pytest.mark.parametrize("name", OURS)
    def test_runs_a_command_that_exists(self, name: str) -> None:
        command, *_ = service(name)["command"]
        assert command in get_commands()

    @pytest.mark.parametrize("name", ROLES)
    def test_checks_the_health_of_each_role_and_restarts_it(self, name: str) -> None:
        assert service(name)["healthcheck"]["test"][0] == "CMD"
        assert service(name)["restart"] == "unless-stopped"

    def test_mounts_volumes_that_are_declared(self) -> None:
        mounted = {mount.split(":")[0] for each in compose()["services"].values() for mount in each.get("volumes", [])}
        named = {mount for mount in mounted if not mount.startswith("./")}
        assert named == set(compose()["volumes"])
        assert all((ROOT / mount).is_dir() for mount in mounted - named)

    @pytest.mark.parametrize("name", OURS)
    def test_reaches_its_servers_by_their_service_names(self, name: str) -> None:
        environment = service(name)["environment"]
        assert "@postgres:5432/" in environment["DATABASE_URL"]
        assert environment["REDIS_URL"].startswith("redis://redis:")

    @pytest.mark.parametrize("name", OURS)
    def test_sets_only_variables_that_the_settings_read(self, name: str) -> None:
        readers = "".join(path.read_text() for path in (ROOT / "console").rglob("*.py"))
        unread = [variable for variable in service(name)["environment"] if f'"{variable}"' not in readers]
        assert unread == []


class TestSecrets:
    @pytest.mark.parametrize("name", ["SECRET_KEY", "POSTGRES_PASSWORD"])
    def test_have_no_default(self, name: str) -> None:
        uses = re.findall(rf"\$\{{{name}(.*?)\}}", (ROOT / "docker-compose.yml").read_text())
        assert uses
        assert all(use.startswith(":?set ") for use in uses)


class TestContainers:
    @pytest.mark.parametrize("name", OURS)
    def test_may_write_nothing_and_gain_nothing(self, name: str) -> None:
        settings = service(name)
        assert settings["read_only"] is True
        assert settings["cap_drop"] == ["ALL"]
        assert settings["security_opt"] == ["no-new-privileges:true"]

    def test_run_as_another_user_than_root(self) -> None:
        last_stage = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
        assert re.search(r"^USER [1-9]\d*$", last_stage, re.MULTILINE)

    def test_are_built_from_files_that_exist_and_are_sent(self) -> None:
        sent = (ROOT / ".dockerignore").read_text().splitlines()
        for line in re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
            for source in line.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in sent, source

    def test_install_only_what_the_lock_hashes(self) -> None:
        assert "--require-hashes -r /build/base.txt" in (ROOT / "Dockerfile").read_text()
