from __future__ import annotations

import stat
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from console import environment as env
from console import web


class TestFlag:
    @pytest.mark.parametrize("value", ["1", "true", "YES", " on "])
    def test_reads_yes(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("SWITCH", value)
        assert env.flag("SWITCH", default=False) is True

    @pytest.mark.parametrize("value", ["0", "false", "No", "off"])
    def test_reads_no(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("SWITCH", value)
        assert env.flag("SWITCH", default=True) is False

    def test_takes_the_default_when_empty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SWITCH", " ")
        assert env.flag("SWITCH", default=True) is True

    def test_refuses_anything_else_by_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SWITCH", "maybe")
        with pytest.raises(ImproperlyConfigured, match=r"SWITCH='maybe'.*use 1 or 0"):
            env.flag("SWITCH", default=False)


class TestNumbers:
    def test_reads_a_whole_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COUNT", "12")
        assert env.integer("COUNT", 3) == 12

    @pytest.mark.parametrize("value", ["-1", "1.5", "many", "9"])
    def test_refuses_what_is_not_whole_or_too_small(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("COUNT", value)
        with pytest.raises(ImproperlyConfigured, match=r"COUNT=.*at least 10"):
            env.integer("COUNT", 30, minimum=10)

    @pytest.mark.parametrize("value", ["nan", "-0.5", "soon"])
    def test_refuses_what_is_not_a_number(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("SECONDS", value)
        with pytest.raises(ImproperlyConfigured, match="SECONDS="):
            env.number("SECONDS", 1.0)


class TestDatabase:
    def test_reads_every_part_of_a_postgresql_url(self) -> None:
        entry = env.database("postgresql://ann:p%40ss@db.local:6432/bus?sslmode=require")
        assert {name: entry[name] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")} == {
            "NAME": "bus",
            "USER": "ann",
            "PASSWORD": "p@ss",
            "HOST": "db.local",
            "PORT": "6432",
        }
        assert entry["OPTIONS"] == {
            "prepare_threshold": 5,
            "server_side_binding": False,
            "sslmode": "require",
            "options": "-c jit=off",
        }

    @pytest.mark.parametrize(
        ("role", "given", "is_bound"),
        [
            ("worker", "", True),
            ("worker", "?server_side_binding=false", False),
            ("web", "", False),
            ("web", "?server_side_binding=true", True),
            ("", "", False),
        ],
    )
    def test_binds_parameters_on_the_server_where_handlers_run(
        self, monkeypatch: pytest.MonkeyPatch, role: str, given: str, is_bound: bool
    ) -> None:
        monkeypatch.setenv("SIGNALBOX_ROLE", role)
        options = env.database(f"postgresql://ann@db/bus{given}")["OPTIONS"]
        assert isinstance(options, dict)
        assert options["server_side_binding"] is is_bound

    @pytest.mark.parametrize(
        ("role", "said"),
        [
            ("relay", "-c random_page_cost=1.1 -c enable_seqscan=off"),
            ("worker", "-c random_page_cost=1.1"),
            ("scheduler", "-c random_page_cost=1.1"),
        ],
    )
    def test_prefers_an_index_where_work_is_looked_for(
        self, monkeypatch: pytest.MonkeyPatch, role: str, said: str
    ) -> None:
        monkeypatch.setenv("SIGNALBOX_ROLE", role)
        options = env.database("postgresql://ann@db/bus?options=-c%20work_mem=8MB")["OPTIONS"]
        assert isinstance(options, dict)
        assert options["options"] == f"-c jit=off {said} -c work_mem=8MB"

    def test_refuses_what_is_no_switch(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="server_side_binding='perhaps'"):
            env.database("postgresql://ann@db/bus?server_side_binding=perhaps")

    def test_takes_a_socket_directory_as_host(self) -> None:
        entry = env.database("postgresql://ann@/bus?host=/run/postgresql")
        assert (entry["HOST"], entry["NAME"]) == ("/run/postgresql", "bus")

    def test_keeps_the_absolute_path_of_a_sqlite_url(self) -> None:
        assert env.database("sqlite:////data/bus.sqlite3")["NAME"] == "/data/bus.sqlite3"

    def test_opens_sqlite_for_writing_at_once(self) -> None:
        options = env.database("sqlite:///x")["OPTIONS"]
        assert isinstance(options, dict)
        assert options["transaction_mode"] == "IMMEDIATE"

    def test_refuses_another_scheme_with_the_form_to_use(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="'mysql'; use postgresql://"):
            env.database("mysql://db/bus")


class TestSecretKey:
    def test_is_generated_once_into_the_data_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SECRET_KEY", raising=False)
        first = env.secret_key(tmp_path / "var", embedded=True)
        assert len(first) >= 50
        assert env.secret_key(tmp_path / "var", embedded=True) == first

    def test_is_readable_by_its_owner_only(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SECRET_KEY", raising=False)
        env.secret_key(tmp_path, embedded=True)
        assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600

    def test_is_demanded_in_production(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SECRET_KEY", raising=False)
        with pytest.raises(ImproperlyConfigured, match="SECRET_KEY is not set"):
            env.secret_key(tmp_path, embedded=False)

    def test_names_a_data_directory_that_cannot_be_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SECRET_KEY", raising=False)
        (tmp_path / "file").touch()
        with pytest.raises(ImproperlyConfigured, match="cannot be a data directory"):
            env.secret_key(tmp_path / "file", embedded=True)


class TestListening:
    def test_refuses_a_port_that_does_not_exist(self) -> None:
        with pytest.raises(CommandError, match="port 99999 does not exist"):
            web.listen("127.0.0.1", 99_999)
