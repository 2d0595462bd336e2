from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import PASSWORD, embedded_in
from tests.processes import Deployment, Program

Start = Callable[[], Program]
STOP_SECONDS = 5.0


def url(deployment: Deployment) -> str:
    return f"http://127.0.0.1:{deployment.env['PORT']}"


def log_in(address: str, password: str) -> httpx.Response:
    """Log in as a browser does and return the page that comes after."""
    with httpx.Client(base_url=address, follow_redirects=True, trust_env=False) as client:
        page = client.get("/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert token, page.text
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token[1]}
        return client.post(page.url.copy_with(query=None), data=form, headers={"Referer": str(page.url)})


class TestFirstStart:
    @pytest.fixture
    def embedded(self, tmp_path: Path) -> Iterator[Deployment]:
        """A data directory that is not even there."""
        deployment = embedded_in(tmp_path / "home")
        yield deployment
        deployment.end()

    def test_serves_from_an_empty_directory(self, up: Start, embedded: Deployment) -> None:
        up()
        assert httpx.get(f"{url(embedded)}/healthz", trust_env=False).status_code == 200

    def test_lets_the_first_operator_in_with_the_given_password(self, up: Start, embedded: Deployment) -> None:
        program = up()
        page = log_in(url(embedded), PASSWORD)
        assert page.status_code == 200
        assert page.url.path == "/"
        assert PASSWORD not in program.output

    def test_shows_a_generated_password_once(self, up: Start, embedded: Deployment) -> None:
        del embedded.env["SIGNALBOX_ADMIN_PASSWORD"]
        first = up()
        shown = re.search(r"as admin with the password (\S+)", first.wait_for("with the password"))
        assert shown
        assert log_in(url(embedded), shown[1]).url.path == "/"
        first.kill()
        assert shown[1] not in up().output

    def test_refuses_another_password(self, up: Start, embedded: Deployment) -> None:
        up()
        assert log_in(url(embedded), "guessed").url.path != "/"

    def test_keeps_quiet_when_all_is_well(self, up: Start, embedded: Deployment) -> None:
        program = up()
        embedded.run("loadgen", "--orders", "5", "--rate", "0", "--failures", "0")
        embedded.drain()
        program.signal(signal.SIGTERM)
        program.wait()
        assert "WARNING" not in program.output
        assert "Traceback" not in program.output


class TestRefusedStart:
    def test_names_the_port_in_use_and_starts_nothing(self, embedded: Deployment) -> None:
        with socket.create_server(("127.0.0.1", int(embedded.env["PORT"]))):
            program = embedded.start("up")
            assert program.wait() == 1
        assert re.search(r"port \d+ on 127.0.0.1 is in use.*PORT=", program.output)
        assert len(program.output.splitlines()) == 1

    def test_does_not_run_twice_on_one_data_directory(self, up: Start, embedded: Deployment) -> None:
        first = up()
        second = embedded.start("up", PORT="0")
        assert second.wait() == 1
        assert f"already runs on {embedded.env['SIGNALBOX_HOME']} (process {first.pid})" in second.output

    def test_points_to_the_roles_when_a_database_is_named(self, embedded: Deployment) -> None:
        program = embedded.start("up", DATABASE_URL="postgresql://db/bus", SECRET_KEY="x" * 50)
        assert program.wait() == 1
        assert "DATABASE_URL is set" in program.output

    @pytest.mark.parametrize("setting", ["PORT", "SIGNALBOX_HEARTBEAT_SECONDS", "SIGNALBOX_SAMPLE_TRAFFIC"])
    def test_names_a_setting_that_cannot_be_read(self, embedded: Deployment, setting: str) -> None:
        program = embedded.start("up", **{setting: "soon"})
        assert program.wait() == 1
        assert f"{setting}='soon'" in program.output
        assert "Traceback" not in program.output

    def test_names_a_command_that_nobody_handles(self, embedded: Deployment, tmp_path: Path) -> None:
        (tmp_path / "hotel").mkdir()
        (tmp_path / "hotel/__init__.py").touch()
        (tmp_path / "hotel/events.py").write_text(
            "from messaging import Command\n\nclass BookRoom(Command, version=1):\n    room: str\n"
        )
        (tmp_path / "hotel_settings.py").write_text(
            'from console.settings import *\n\nINSTALLED_APPS = [*INSTALLED_APPS, "hotel"]\n'
        )
        program = embedded.start("up", PYTHONPATH=str(tmp_path), DJANGO_SETTINGS_MODULE="hotel_settings")
        assert program.wait() == 1
        assert "messaging.E002" in program.output
        assert "BookRoom has 0 handlers" in program.output


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_ends_in_time_and_signs_off(self, up: Start, embedded: Deployment, number: signal.Signals) -> None:
        program = up()
        embedded.run("loadgen", "--orders", "20", "--rate", "0")
        started = time.monotonic()
        program.signal(number)
        assert program.wait() == 0
        assert time.monotonic() - started < STOP_SECONDS
        assert "Traceback" not in program.output

    def test_frees_the_data_directory(self, up: Start) -> None:
        up().kill()
        up()


class TestNothingIsLost:
    def test_finishes_after_kill_9_what_was_under_way(self, up: Start, embedded: Deployment) -> None:
        for _ in range(3):
            program = up()
            embedded.run("loadgen", "--orders", "40", "--rate", "0", "--failures", "0.2")
            program.kill()
        up()
        report = embedded.drain()
        assert report["is_sound"], report
        assert sum(flow["flows"] for flow in report["flows"]) == 120
        assert (report["lost"], report["duplicated"]) == ([], [])

    def test_delivers_what_was_published_while_it_was_down(self, up: Start, embedded: Deployment) -> None:
        up().kill()
        embedded.run("loadgen", "--orders", "10", "--rate", "0", "--failures", "0")
        up()
        report = embedded.drain()
        assert sum(consumer["handled"] for consumer in report["consumers"]) == 10 * 4
