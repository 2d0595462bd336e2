"""Photograph the console's pages into docs/images: a real Signalbox with sample orders, in a data directory of its own.

Every page at 1440x900 and 390x844, light and dark. The pictures of the documentation are these.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bootstrap import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES = ROOT / "docs" / "images"
SIZES = {1440: 900, 390: 844}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 120.0
GROUPS_WANTED = 3
"""Kinds of failure that the sample orders must have shown before the pictures are taken."""
PASSWORD = secrets.token_hex(8)

Dead = dict[str, Any]
Visit = Callable[["Page", Dead], None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(PAGES), nargs="*", help="only these pages")
    parser.add_argument("--minutes", type=float, default=2.0, help="let orders run so long before (default: 2)")
    arguments = parser.parse_args()
    wanted = arguments.only or list(PAGES)
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        print("signalbox: no browser here. On Debian and Ubuntu: apt-get install chromium", file=sys.stderr)
        return 1
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="signalbox-pictures-") as home, running(Path(home)) as (address, env):
        with ordering(env):
            print(
                f"Orders run for {arguments.minutes:g} minutes first, so that there is something to see …", flush=True
            )
            time.sleep(arguments.minutes * 60)
            dead = wait_for_failures(env)
        take_all(program, address, wanted, dead)
    return 0


def take_all(program: str, address: str, wanted: list[str], dead: Dead) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for theme in THEMES:
            for width in SIZES:
                with signed_in(browser, address, width, theme) as page:
                    for name in wanted:
                        PAGES[name](page, dead)
                        page.wait_for_timeout(700)  # fonts, charts, and the first answer on the socket
                        path = IMAGES / f"{name}-{width}-{theme}.png"
                        page.screenshot(path=path, animations="disabled")
                        print(f"{path.relative_to(ROOT)}  {path.stat().st_size // 1024} kB", flush=True)
        browser.close()


@contextmanager
def signed_in(browser: Browser, address: str, width: int, theme: Literal["light", "dark"]) -> Iterator[Page]:
    context = browser.new_context(
        base_url=address,
        viewport={"width": width, "height": SIZES[width]},
        color_scheme=theme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto("/")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.locator("#content").wait_for()
    yield page
    context.close()


def edit(page: Page, dead: Dead) -> None:
    """Open the editor on an order in a currency that nobody knows, and correct it."""
    at("/dead-letters/one/{id}/resubmit")(page, dead)
    page.locator("[data-editor]").wait_for()
    page.wait_for_timeout(500)
    line = page.locator(".cm-line", has_text='"XXX"')
    if line.count():
        line.first.click()
        page.keyboard.press("Home")
        page.keyboard.press("Shift+End")
        page.keyboard.insert_text('"currency": "EUR"')
    else:  # the plain text field, where the editor's library is missing
        field = page.locator("textarea[name=body]")
        field.fill(field.input_value().replace("XXX", "EUR"))
    page.locator("#why").fill("The shop sent a placeholder for the currency.")
    page.wait_for_timeout(900)  # the check's delay and its answer
    page.evaluate("window.scrollTo(0, 0)")


def at(address: str) -> Visit:
    """Return a visit to an address, in which {id}, {message_id} and {fingerprint} are the dead letter's."""

    def visit(page: Page, dead: Dead) -> None:
        answer = page.goto(address.format(**dead))
        if answer is None or not answer.ok:
            raise SystemExit(f"signalbox: {page.url} answered {answer.status if answer else 'nothing'}.")

    return visit


PAGES: dict[str, Visit] = {
    "overview": at("/"),
    "messages": at("/messages"),
    "message": at("/messages/{message_id}"),
    "dead-letters": at("/dead-letters"),
    "dead-letter-group": at("/dead-letters/{fingerprint}"),
    "resubmit": edit,
    "consumers": at("/consumers"),
    "scheduled": at("/scheduled?tab=retries"),
    "outbox": at("/outbox"),
    "traces": at("/traces"),
    "flows": at("/flows"),
    "dependencies": at("/dependencies"),
    "sagas": at("/sagas"),
    "operations": at("/operations"),
}


@contextmanager
def running(home: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Start Signalbox with sample traffic, and end it."""
    port = free_port()
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DATABASE_URL", "REDIS_", "CELERY_", "SIGN"))}
    env = {**inherited, "SIGNALBOX_HOME": str(home), "PORT": str(port), "SIGNALBOX_ADMIN_PASSWORD": PASSWORD}
    up = start(env, "up")
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(port), "Signalbox did not start")
        yield address, env
    finally:
        end(up)


@contextmanager
def ordering(env: dict[str, str]) -> Iterator[None]:
    """Place more orders beside the sample traffic; without them the pictures show a bus that keeps up."""
    orders = start(env, *("loadgen", "--rate", "3", "--seconds", "7200", "--failures", "0.08", "--seed", "7"))
    try:
        yield
    finally:
        end(orders)


def wait_for_failures(env: dict[str, str]) -> Dead:
    """Wait until the sample orders have failed in different ways; return the dead letter to look at."""
    found: list[Dead] = []

    def is_enough() -> bool:
        command = [sys.executable, "manage.py", "dead_letters", "list", "--limit", "500", "--json"]
        output = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
        found[:] = json.loads(output)
        kinds = {row["error_type"] for row in found}
        return len({row["fingerprint"] for row in found}) >= GROUPS_WANTED and "UnknownCurrency" in kinds

    wait_until(is_enough, "The sample orders did not fail as expected", pause=3.0)
    return next(row for row in found if row["error_type"] == "UnknownCurrency")


def start(env: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "manage.py", *arguments], cwd=ROOT, env=env, stdout=quiet, stderr=quiet)


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(is_true: Callable[[], bool], problem: str, *, pause: float = 0.2) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_true():
        if time.monotonic() > deadline:
            raise SystemExit(f"signalbox: {problem} within {PATIENCE:.0f} s.")
        time.sleep(pause)


if __name__ == "__main__":
    sys.exit(main())
