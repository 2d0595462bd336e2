"""What people do in a browser, against the real program."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest

from tests.acceptance.conftest import PASSWORD, embedded_in
from tests.acceptance.test_up import Start, url
from tests.processes import Deployment, eventually

if TYPE_CHECKING:
    from playwright.sync_api import APIResponse, Browser, BrowserContext, Page, Route

WIDE = (1440, 900)
NARROW = (390, 844)
PLACES = ("/", "/messages", "/dead-letters", "/quarantine", "/consumers", "/consumers/billing.charge_card", "/audit")
REASON = "Reason, kept in the audit"
PlaceOrder = Callable[..., str]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One running program for the tests of this module; each brings orders of its own."""
    deployment = embedded_in(tmp_path_factory.mktemp("console"))
    deployment.start("up").wait_for("Signalbox runs at")
    yield deployment
    deployment.end()


@pytest.fixture(scope="module")
def place_order(console: Deployment) -> PlaceOrder:
    """Post an order as a shop does; return its flow."""
    made = console.run("tokens", "create", "--name", "shop", "--scopes", "publish", "--json").output
    token = json.loads(made)["token"]

    def place(*, currency: str = "EUR", sku: str = "PEN-GREEN") -> str:
        flow = str(uuid4())
        data = {
            "order_id": str(uuid4()), "customer_email": "ana@example.org", "card_token": "tok_visa",
            "items": [{"sku": sku, "quantity": 1, "unit_price": "8.40"}], "total": "8.40", "currency": currency,
        }  # fmt: skip
        answer = httpx.post(
            f"{url(console)}/api/v1/messages",
            json={"type": "ecommerce.OrderPlaced", "version": 2, "data": data, "correlation_id": flow},
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )
        assert answer.status_code == 202, answer.text
        return flow

    return place


@pytest.fixture
def page(browser: Browser, console: Deployment) -> Iterator[Page]:
    """The first operator at a desk; the browser must find nothing to complain about."""
    with browser.new_context(viewport=size(WIDE), base_url=url(console)) as context:
        complaints: list[str] = []
        page = watched(context, complaints)
        sign_in(page)
        yield page
        assert complaints == []


def size(of: tuple[int, int]) -> dict[str, int]:
    return {"width": of[0], "height": of[1]}


def watched(context: BrowserContext, complaints: list[str]) -> Page:
    """Open a page and note what the browser logs: errors of scripts, of the CSP, of what could not be loaded."""
    page = context.new_page()
    page.on("console", lambda entry: complaints.append(entry.text) if entry.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda answer: complaints.append(answer.url) if answer.status >= 500 else None)
    return page


def sign_in(page: Page, name: str = "admin", password: str = PASSWORD) -> None:
    page.goto("/login")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")


def visit(page: Page, path: str) -> None:
    """Go there and wait for the live connection; a mark on the window tells a later reload."""
    page.goto(path)
    page.wait_for_selector("html.is-live")
    page.evaluate("window.isUntouched = true")


READ_AGAIN = """() => new Promise((done) => {
  const ask = setInterval(() => document.body.dispatchEvent(new CustomEvent("changed:any", {bubbles: true})), 300);
  document.getElementById("consumer").addEventListener("htmx:afterSettle", () => { clearInterval(ask); done(); });
})"""
"""Wait until the part of the page has been swapped."""


CHANGES = """(topic) => new Promise((done) => {
  const tell = () => document.body.dispatchEvent(new CustomEvent(`changed:${topic}`, {bubbles: true}));
  const telling = setInterval(tell, 200);
  setTimeout(() => { clearInterval(telling); done(); }, 5000);
})"""
"""Tell the page of changes for five seconds, faster than hints come."""


def is_untouched(page: Page) -> bool:
    return bool(page.evaluate("window.isUntouched === true"))


def open_dead_letter(page: Page, flow: str) -> str:
    """Wait until the flow has a dead letter, then open it; return its address."""

    def is_dead() -> bool:
        page.goto(f"/messages?correlation={flow}&status=dead&range=all")
        return page.locator("#rows tr").count() > 0

    eventually(is_dead, what=f"the dead letter of {flow}")
    message = page.locator("#rows tr").get_attribute("data-row")
    page.goto(f"/messages/{message}")
    page.locator("#message-acts").get_by_role("link", name="Edit and resubmit").click()
    page.get_by_role("link", name="Discard edits").click()
    page.get_by_role("button", name="Replay 1 message…").wait_for()
    return page.url


def rewrite(page: Page, before: str, after: str) -> None:
    """Go to the first occurrence in the editor by keys and type over it."""
    lines, _, rest = page.locator("textarea[name=body]").input_value().partition(before)
    page.locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+Home")
    for key in ["ArrowDown"] * lines.count("\n") + ["End"] + ["ArrowLeft"] * rest.index("\n"):
        page.keyboard.press(key)
    for _ in before:
        page.keyboard.press("Backspace")
    page.keyboard.type(after)


def confirm(page: Page, title: str, button: str, reason: str) -> None:
    dialog = page.get_by_role("dialog", name=title)
    dialog.get_by_label(REASON).fill(reason)
    dialog.get_by_role("button", name=button, exact=True).click()


class TestBusyList:
    def test_reads_itself_again_no_more_often_than_it_says(self, page: Page, place_order: PlaceOrder) -> None:
        place_order()
        visit(page, "/messages")
        read: list[str] = []
        page.on("request", lambda request: read.append(request.headers.get("hx-target", "")))
        page.evaluate(CHANGES, "messages")
        # Throttled to three and two seconds; htmx takes an element up anew when its attributes changed. It was 22.
        assert 1 <= read.count("rows") <= 5
        assert 1 <= read.count("newer") <= 7

    @pytest.mark.parametrize("part", ["scheduled", "quarantine", "sagas"])
    def test_keeps_its_throttle_on_other_pages(self, page: Page, part: str) -> None:
        visit(page, f"/{part}")
        read: list[str] = []
        page.on("request", lambda request: read.append(request.headers.get("hx-target", "")))
        page.evaluate(CHANGES, part)
        assert 1 <= read.count(part) <= 5  # throttled to two seconds; it was 25


class TestFailingOrder:
    def test_appears_without_a_reload(self, page: Page, place_order: PlaceOrder) -> None:
        visit(page, "/")
        place_order(currency="XXX")
        page.locator("#now").get_by_role("link", name=re.compile("UnknownCurrency")).wait_for()
        page.locator(".rail").get_by_role("link", name=re.compile(r"Dead letters\s*\d")).wait_for()
        assert is_untouched(page)

    def test_shows_its_attempts_and_the_traceback(self, page: Page, place_order: PlaceOrder) -> None:
        open_dead_letter(page, place_order(currency="XXX"))
        assert re.search(r"card_provider\.py:\d+", page.get_by_label("Traceback", exact=True).inner_text())
        page.get_by_role("link", name="All its deliveries").click()
        deliveries = page.locator("#deliveries")
        assert "Attempt 1" in deliveries.inner_text()
        deliveries.locator("summary").first.click()
        deliveries.get_by_text("raise UnknownCurrency").wait_for()

    def test_is_healed_by_an_edited_copy(self, page: Page, place_order: PlaceOrder) -> None:
        address = open_dead_letter(page, place_order(currency="XXX"))
        page.get_by_role("link", name="Edit and resubmit").click()
        rewrite(page, "XXX", "euro")
        page.get_by_text("1 schema error.").wait_for()
        assert page.locator("[data-send]").is_disabled()
        rewrite(page, "euro", "EUR")
        page.locator("#difference ins", has_text="EUR").wait_for()
        page.get_by_label(REASON).fill("There is no currency XXX.")
        page.locator("[data-send]:enabled").click()
        page.locator("#message-state .s-handled").wait_for()
        page.goto(address)
        page.get_by_text("Resolved by a copy").first.wait_for()

    def test_is_replayed_and_watched_until_it_is_settled(self, page: Page, place_order: PlaceOrder) -> None:
        open_dead_letter(page, place_order(sku="MUG-CLASSIC"))
        page.get_by_role("button", name="Replay 1 message…").click()
        confirm(page, "Replay 1 dead letter", "Replay 1 message", "Perhaps it is sold again.")
        page.get_by_text("Failed again").first.wait_for()

    def test_is_found_by_id_and_by_fields(self, page: Page, place_order: PlaceOrder) -> None:
        flow = place_order(currency="XXX")
        open_dead_letter(page, flow)
        address = page.get_by_role("link", name="All its deliveries").get_attribute("href") or ""
        visit(page, "/messages")
        page.keyboard.press("/")
        page.keyboard.type(address.rpartition("/")[2])
        page.keyboard.press("Enter")
        page.wait_for_url(f"**{address}")
        visit(page, "/messages")
        for words in (f"correlation:{flow}", "status:dead", "type:ecommerce.StockReserved"):
            page.keyboard.press("/")
            page.keyboard.type(words)
            page.keyboard.press("Enter")
            page.locator(".chip", has_text=words.partition(":")[2][:20]).wait_for()
        assert page.locator("#rows tr").count() == 1


class TestGroup:
    def test_is_replayed_as_a_whole_and_says_what_came_of_it(self, page: Page, place_order: PlaceOrder) -> None:
        open_dead_letter(page, place_order(sku="MUG-CLASSIC"))
        page.locator(".crumbs").get_by_role("link", name="RetiredSku").click()
        page.get_by_role("button", name=re.compile(r"Replay all \d+…")).click()
        dialog = page.get_by_role("dialog", name=re.compile(r"Replay \d+ dead letters?"))
        assert "later ones stay out" in dialog.inner_text()
        dialog.get_by_label(REASON).fill("Perhaps it is sold again.")
        dialog.get_by_role("button", name=re.compile(r"Replay \d+ messages?")).click()
        page.get_by_text("Finished, some failed again").wait_for()
        assert re.search(r"0 handled, \d+ failed again, 0 waiting", page.locator("#progress").inner_text())

    def test_is_worked_on_by_keys_alone(self, page: Page, place_order: PlaceOrder) -> None:
        open_dead_letter(page, place_order(sku="MUG-CLASSIC"))
        visit(page, "/dead-letters")
        place = page.locator("[data-row].is-focus")
        page.keyboard.press("j")
        while "RetiredSku" not in place.inner_text():
            page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.locator("#rows").wait_for()
        page.keyboard.press("j")
        page.keyboard.press("x")
        bar = page.get_by_label("Selection", exact=True)
        bar.get_by_text("1 selected").wait_for()
        bar.get_by_role("button", name="Discard…").click()
        confirm(page, "Discard 1 dead letter", "Discard 1 dead letter", "A test.")
        page.get_by_text("1 discarded.").wait_for()
        page.keyboard.press("?")
        page.get_by_role("dialog").get_by_text("Next, previous row").wait_for()

    def test_is_replayed_from_the_admin(self, page: Page, place_order: PlaceOrder) -> None:
        letter = open_dead_letter(page, place_order(sku="MUG-CLASSIC")).rpartition("/")[2]
        page.goto("/admin/messaging/deadletter/")
        page.locator(f'input[name=_selected_action][value="{letter}"]').check()
        page.locator("select[name=action]").select_option("replay")
        page.locator("[name=index][type=submit], button[name=index]").first.click()
        page.get_by_label("Reason").fill("From the admin.")
        page.get_by_role("button", name="Replay 1 dead letter").click()
        page.get_by_text(re.compile("1 .*(sent|replay)", re.IGNORECASE)).first.wait_for()


class TestPause:
    def test_shows_on_every_page_until_it_ends(self, page: Page, browser: Browser, console: Deployment) -> None:
        name = "notification.send_email"
        banner = re.compile(rf"{name} is paused")
        elsewhere = page.context.new_page()
        visit(elsewhere, "/audit")
        visit(page, f"/consumers/{name}")
        page.get_by_role("button", name="Pause…").hover()
        page.mouse.down()
        page.evaluate(READ_AGAIN)
        page.mouse.up()  # the part was read again under the finger, and the press counts
        dialog = page.get_by_role("dialog", name=f"Pause {name}")
        dialog.get_by_label("Reason").fill("The mail server is being moved.")
        dialog.get_by_role("button", name=f"Pause {name}").click()
        page.get_by_role("button", name="Resume…").wait_for()
        elsewhere.get_by_text(banner).wait_for()
        assert is_untouched(elsewhere)
        for path in PLACES:
            page.goto(path)
            page.get_by_text(banner).first.wait_for()
        page.goto(f"/consumers/{name}")
        page.get_by_role("button", name="Resume…").click()
        page.get_by_role("dialog").get_by_role("button", name=f"Resume {name}").click()
        page.get_by_text(f"{name} runs again").wait_for()
        elsewhere.get_by_text(banner).wait_for(state="detached")

    def test_is_confirmed_though_the_page_hears_of_it_before_its_answer(self, page: Page) -> None:
        name = "billing.charge_card"
        answers: list[tuple[Route, APIResponse]] = []
        read: list[str] = []

        def carry_out(route: Route) -> None:
            answers.append((route, route.fetch(max_redirects=0)))
            page.context.clear_cookies(name="messages")  # the answer brings it, and the answer is under way
            read.clear()

        def has_heard() -> bool:
            elsewhere.wait_for_timeout(100)
            return read.count("consumer") > 1  # twice: what was read first may have been asked before

        elsewhere = page.context.new_page()
        visit(elsewhere, f"/consumers/{name}")
        visit(page, f"/consumers/{name}")
        page.on("response", lambda part: read.append(part.request.headers.get("hx-target", "")))
        page.route("**/pause", carry_out)
        page.get_by_role("button", name="Pause…").click()
        dialog = page.get_by_role("dialog", name=f"Pause {name}")
        dialog.get_by_label("Reason").fill("The card provider is being moved.")
        dialog.get_by_role("button", name=f"Pause {name}").click(no_wait_after=True)
        eventually(has_heard, what="the page hears of it")
        [(route, answer)] = answers
        route.fulfill(response=answer)
        page.locator("#toasts").get_by_text(f"{name} is paused.").wait_for()

        # Whoever has had the page open since before is offered what there is to do now.
        elsewhere.get_by_role("button", name="Resume…").click()
        elsewhere.get_by_role("dialog").get_by_role("button", name=f"Resume {name}").click()
        elsewhere.get_by_text(f"{name} runs again").wait_for()


class TestQuarantine:
    def test_keeps_what_cannot_be_read_for_another_try(self, page: Page, console: Deployment, tmp_path: Path) -> None:
        broken = tmp_path / "broken.jsonl"
        broken.write_text('{"type": "nobody.Knows", "version": 1, "data": {}}\n{"type": \n')
        visit(page, "/quarantine")
        console.run("ingest", str(broken))
        rows = page.locator("#quarantine tbody tr")
        rows.nth(1).wait_for()
        assert is_untouched(page)
        rows.filter(has_text="nobody.Knows").get_by_role("link").click()
        page.get_by_role("button", name="Send it in again").click()
        page.locator("#toasts [data-toast]").first.wait_for()
        page.get_by_role("button", name="Discard…").click()
        page.get_by_role("dialog").get_by_label(REASON).fill("A test.")
        page.get_by_role("dialog").get_by_role("button", name="Discard 1 message").click()
        page.get_by_text("Discarded by admin").wait_for()


class TestViewer:
    def test_sees_everything_and_acts_on_nothing(
        self, page: Page, browser: Browser, console: Deployment, place_order: PlaceOrder
    ) -> None:
        letter = open_dead_letter(page, place_order(currency="XXX"))
        console.run("users", "create", "vera", "--role", "viewer")
        with browser.new_context(base_url=url(console)) as context:
            hers = watched(context, [])
            sign_in(hers, "vera")
            for path in (*PLACES, letter):
                visit(hers, path)
                assert hers.locator(".needs-live").count() == 0, path
                buttons = hers.locator("button, .btn").filter(has_text=re.compile("…|resubmit"))
                assert buttons.count() == 0, path
            hers.goto(letter)
            hers.get_by_label("Traceback", exact=True).wait_for()
            refused = hers.goto(f"{letter}/resubmit")
            assert refused is not None
            assert refused.status == 403
            hers.goto("/")
            hers.get_by_role("button", name="Sign out").click()
            hers.wait_for_url(re.compile("/login"))


class TestStaleView:
    def test_says_so_and_takes_its_actions_away(self, browser: Browser, up: Start, embedded: Deployment) -> None:
        program = up()
        with browser.new_context(base_url=url(embedded)) as context:
            page = context.new_page()
            sign_in(page)
            visit(page, "/consumers/billing.charge_card")
            program.kill()
            page.get_by_text("This view is stale.").wait_for()
            assert page.get_by_role("button", name="Pause…").is_disabled()


class TestEveryPage:
    @pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["desk", "phone"])
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_fits_and_logs_no_error(
        self,
        browser: Browser,
        console: Deployment,
        place_order: PlaceOrder,
        viewport: tuple[int, int],
        scheme: str,
    ) -> None:
        complaints: list[str] = []
        with browser.new_context(viewport=size(viewport), color_scheme=scheme, base_url=url(console)) as context:
            page = watched(context, complaints)
            sign_in(page)
            letter = open_dead_letter(page, place_order(currency="XXX"))
            group = page.locator(".crumbs a").nth(1).get_attribute("href") or ""
            message = page.get_by_role("link", name="All its deliveries").get_attribute("href") or ""
            tabs = (f"{message}?tab=headers", f"{message}?tab=audit")
            for path in (*PLACES, group, letter, f"{letter}/resubmit", message, *tabs, "/nowhere"):
                page.goto(path)
                page.locator("main").wait_for()
                wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, f"{path} is {wide} px too wide"
        assert [text for text in complaints if "404" not in text] == []
