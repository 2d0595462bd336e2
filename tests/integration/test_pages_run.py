"""Overview, consumers, audit and the sample traffic switch, as a signed-in person meets them."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from console import roles
from console.ui import context as page_context
from examples.sampling.switch import running
from messaging import clock
from messaging.ids import new_id
from messaging.models import AuditRecord, ChainCheck, ConsumerState, OutboxEntry, Rollup, Subscription, Worker
from tests import rows

pytestmark = pytest.mark.django_db

CHARGE = "billing.charge_card"


@pytest.fixture(autouse=True)
def only_the_tests_own_consumers(db: None) -> None:
    """Those of the installed examples were registered by the migration."""
    ConsumerState.objects.all().delete()
    Subscription.objects.all().delete()


@pytest.fixture(autouse=True)
def nothing_kept_from_another_test() -> Iterator[None]:
    page_context.forget()
    yield
    page_context.forget()


def signed_in(role: roles.Role, name: str) -> Client:
    user = User.objects.create_user(name)
    roles.set_role(user, role)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def ana() -> Client:
    return signed_in("operator", "ana")


@pytest.fixture
def vera() -> Client:
    """Vera may only look."""
    return signed_in("viewer", "vera")


def alive(*names: str) -> None:
    for role in names:
        Worker.objects.create(role=role, name=role, host="h", pid=1, started_at=clock.now(), heartbeat_at=clock.now())


def record(consumer: str, outcome: str, count: int, **buckets: int) -> None:
    minute = clock.now().replace(second=0, microsecond=0) - timedelta(minutes=2)
    Rollup.objects.create(
        minute=minute, consumer=consumer, outcome=outcome, count=count, duration_us=1, critical_us=1,
        buckets={name.removeprefix("ms"): value for name, value in buckets.items()},
    )  # fmt: skip


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().split())


class TestOverview:
    def test_is_calm_when_all_is_well(self, vera: Client) -> None:
        alive("relay", "worker")
        page = text_of(vera.get("/"))
        assert "All is well" in page
        assert "Nothing is broken" in page

    def test_names_what_is_broken_now(self, vera: Client) -> None:
        rows.consumer(CHARGE)
        rows.consumer("ledger.record")
        late = rows.message(age=3600)
        rows.delivery(late, "ledger.record")
        for _ in range(2):
            rows.dead_letter(rows.message(age=5), error_message="no minor unit for <CHF>")
        record(CHARGE, "handled", 3)
        record(CHARGE, "dead_lettered", 1)
        OutboxEntry.objects.create(message_id=new_id(), type="t", created_at=clock.now())
        page = text_of(vera.get("/"))
        assert "No relay is alive: 1 messages wait in the outbox" in page
        assert "No worker is alive" in page
        assert "25.0 % of billing.charge_card fails" in page
        assert "ledger.record is 1 h behind" in page
        assert "2 dead letters wait for a decision" in page
        assert "UnknownCurrency" in page
        assert "no minor unit for &lt;CHF&gt;" in page
        assert "All is well" not in page

    @pytest.mark.parametrize("part", ["now", "charts", "notices"])
    def test_serves_each_part_alone_to_htmx(self, vera: Client, part: str) -> None:
        rows.consumer(CHARGE)
        page = text_of(vera.get("/", headers={"HX-Request": "true", "HX-Target": part}))
        assert f'id="{part}"' in page
        assert "<html" not in page
        assert page in text_of(vera.get("/"))

    @pytest.mark.parametrize(("window", "points"), [("15m", 15), ("1h", 60), ("6h", 72), ("24h", 96), ("junk", 60)])
    def test_draws_the_window_of_the_address(self, vera: Client, window: str, points: int) -> None:
        record(CHARGE, "handled", 120, ms100=120)
        page = text_of(vera.get("/", {"window": window}, headers={"HX-Target": "charts"}))
        starts = page.partition('data-charts="')[2].partition('"')[0]
        assert starts.count("Z") == points
        tips = json.loads(html.unescape(page.partition('data-tips="')[2].partition('"')[0]))
        assert len(tips) == points
        assert sum(tip != "handled 0" for tip in tips) == 1

    def test_reads_a_bounded_number_of_times(self, vera: Client) -> None:
        for n in range(15):
            rows.consumer(f"consumer.{n}")
            rows.dead_letter(rows.message(), f"consumer.{n}", fingerprint=f"{n:016x}")
        vera.get("/")
        page_context.forget()
        with CaptureQueriesContext(connection) as statements:
            vera.get("/")
        assert len(statements) < 45

    def test_needs_a_permission_to_see_it(self) -> None:
        assert Client().get("/").status_code == 302
        stranger = User.objects.create_user("stranger")
        client = Client()
        client.force_login(stranger, backend="django.contrib.auth.backends.ModelBackend")
        assert client.get("/").status_code == 403


class TestConsumersPage:
    def test_lists_them_with_what_they_owe(self, vera: Client) -> None:
        rows.consumer(CHARGE)
        rows.delivery(rows.message(age=7200), CHARGE)
        page = text_of(vera.get("/consumers"))
        assert CHARGE in page
        assert "1 delivery waits" in page
        assert "2 h" in page

    def test_explains_itself_when_there_is_none(self, vera: Client) -> None:
        assert "No consumer is registered" in text_of(vera.get("/consumers"))

    def test_shows_one_with_its_failures_and_policy(self, vera: Client) -> None:
        rows.consumer(CHARGE, policy={"delays": ["10s", "1m"], "ordered": False}, description="Charges cards.")
        rows.dead_letter(rows.message())
        page = text_of(vera.get(f"/consumers/{CHARGE}"))
        assert "Charges cards." in page
        assert "10s, 1m" in page
        assert "UnknownCurrency" in page
        assert "Exactly once" in page
        assert "Pause…" not in page

    def test_says_when_there_is_no_such_consumer(self, vera: Client) -> None:
        assert vera.get("/consumers/no.such").status_code == 404
        assert vera.get("/consumers/a%00b").status_code == 404


class TestPause:
    def ask(self, client: Client, action: str = "pause", **given: str) -> Any:
        return client.post(
            f"/consumers/{CHARGE}/{action}", {"reason": "Card provider is down", "minutes": "60", **given}
        )

    def test_holds_the_consumer_with_reason_and_end(self, ana: Client) -> None:
        rows.consumer(CHARGE)
        answer = self.ask(ana)
        assert answer.status_code == 302
        held = ConsumerState.objects.get(name=CHARGE)
        assert (held.paused_by, held.pause_reason) == ("ana", "Card provider is down")
        assert held.paused_until is not None
        assert timedelta(minutes=59) < held.paused_until - clock.now() <= timedelta(minutes=61)
        page = text_of(ana.get(f"/consumers/{CHARGE}"))
        assert "Card provider is down" in page
        assert "Resume…" in page
        assert AuditRecord.objects.get(target=f"consumer:{CHARGE}", outcome="done").actor == "ana"

    def test_says_what_is_in_flight_and_drains_it(self, ana: Client) -> None:
        rows.consumer(CHARGE)
        rows.delivery(rows.message(), CHARGE, claim_token=new_id())
        assert "which will finish" in text_of(ana.get(f"/consumers/{CHARGE}"))
        self.ask(ana, minutes="")
        page = text_of(ana.get(f"/consumers/{CHARGE}"))
        assert "Draining" in page
        assert "1 in flight will finish" in page
        assert ConsumerState.objects.get(name=CHARGE).paused_until is None

    @pytest.mark.parametrize("wrong", [{"reason": "  "}, {"minutes": "7"}, {"minutes": "x"}])
    def test_refuses_a_wrong_form_and_keeps_what_was_typed(self, ana: Client, wrong: dict[str, str]) -> None:
        rows.consumer(CHARGE)
        answer = self.ask(ana, **wrong)
        assert answer.status_code == 422
        assert "Nothing was changed." in text_of(answer)
        assert "data-open" in text_of(answer)
        assert ConsumerState.objects.get(name=CHARGE).paused_at is None

    def test_answers_a_form_sent_twice_once(self, ana: Client) -> None:
        rows.consumer(CHARGE)
        request_id = str(uuid4())
        moment = clock.now().replace(second=10)
        clock.install(lambda: moment)
        try:
            answers = [self.ask(ana, request_id=request_id).status_code for _ in range(2)]
        finally:
            clock.install(None)
        assert answers == [302, 302]
        assert AuditRecord.objects.filter(action="consumer.pause").count() == 1

    def test_tells_who_was_faster(self, ana: Client) -> None:
        rows.consumer(CHARGE)
        self.ask(ana)
        answer = self.ask(ana)
        assert answer.status_code == 409
        assert "already paused" in text_of(answer)

    def test_is_denied_to_a_viewer_and_audited(self, vera: Client) -> None:
        rows.consumer(CHARGE)
        assert self.ask(vera).status_code == 403
        assert ConsumerState.objects.get(name=CHARGE).paused_at is None
        assert AuditRecord.objects.get(outcome="denied").actor == "vera"

    def test_resumes_with_a_forecast(self, ana: Client) -> None:
        rows.consumer(CHARGE)
        record(CHARGE, "handled", 600)
        for _ in range(4):
            rows.delivery(rows.message(), CHARGE)
        self.ask(ana)
        assert "Forecast" in text_of(ana.get(f"/consumers/{CHARGE}"))
        answer = ana.post(f"/consumers/{CHARGE}/resume", {}, follow=True)
        assert f"{CHARGE} runs again. 4 wait" in text_of(answer)
        assert ConsumerState.objects.get(name=CHARGE).paused_at is None

    def test_needs_a_post(self, ana: Client) -> None:
        rows.consumer(CHARGE)
        assert ana.get(f"/consumers/{CHARGE}/pause").status_code == 405


class TestAuditPage:
    @pytest.fixture(autouse=True)
    def records(self) -> None:
        for n in range(60):
            AuditRecord.objects.create(
                at=clock.now(), actor="ana" if n else "eve", actor_kind="user", action="dead_letter.replay",
                outcome="done" if n else "denied", target=f"consumer:c{n}", reason="=1+1" if n == 5 else "",
            )  # fmt: skip

    def test_shows_denials_and_narrows_to_them(self, vera: Client) -> None:
        page = text_of(vera.get("/audit", {"outcome": "denied"}))
        assert "Denied" in page
        assert "c0" in page
        assert "c33" not in page

    def test_pages_by_cursor(self, vera: Client) -> None:
        first = vera.get("/audit")
        older = first.context["page"].older
        second = text_of(vera.get("/audit", {"after": older}))
        assert "eve" in second
        assert "Older" not in second

    def test_says_when_nothing_matches(self, vera: Client) -> None:
        assert "No record matches" in text_of(vera.get("/audit", {"actor": "nobody"}))

    @pytest.mark.parametrize("query", [{"after": "junk"}, {"before": "1"}, {"actor": "a\x00b"}, {"target": "'; --"}])
    def test_survives_a_mangled_address(self, vera: Client, query: dict[str, str]) -> None:
        assert vera.get("/audit", query).status_code == 200


class TestAuditChain:
    def test_says_that_nothing_was_verified_yet(self, vera: Client) -> None:
        page = text_of(vera.get("/audit"))
        assert "not verified yet" in page
        assert "Verify now" not in page

    def test_shows_what_the_last_verification_found(self, ana: Client) -> None:
        ChainCheck.objects.create(
            at=clock.now(), by="scheduler", seals=7, records=1200, unsealed=0, duration_ms=5,
            problems=["attempt 42 was changed (seal 3)"],
        )  # fmt: skip
        page = text_of(ana.get("/audit"))
        assert "chain broken" in page
        assert "attempt 42 was changed (seal 3)" in page
        assert "1,200 records in 7 seals" in page

    def test_is_verified_on_request_and_audited(self, ana: Client) -> None:
        ana.post("/audit/check", {"request_id": "r-1"})
        ana.post("/audit/check", {"request_id": "r-1"})
        assert AuditRecord.objects.filter(action="chain.check", outcome="done", actor="ana").count() == 1

    def test_denies_a_verification_to_a_viewer_and_audits_it(self, vera: Client) -> None:
        assert vera.post("/audit/check", {}).status_code == 403
        assert AuditRecord.objects.get(action="chain.check").outcome == "denied"


class TestSampleTraffic:
    def test_is_switched_by_an_operator_and_audited(self, ana: Client) -> None:
        assert "Sample traffic is off." in text_of(ana.get("/"))
        ana.post("/sample-traffic", {"turn": "on"})
        page = text_of(ana.get("/"))
        assert "Sample traffic is on." in page
        assert "Stop orders" in page
        ana.post("/sample-traffic", {"turn": "off"})
        assert "Sample traffic is off." in text_of(ana.get("/"))
        done = (
            AuditRecord.objects.filter(action="sample_traffic.switch").order_by("id").values_list("target", flat=True)
        )
        assert list(done) == ["sample_traffic:on", "sample_traffic:off"]

    def test_is_denied_to_a_viewer_and_audited(self, vera: Client) -> None:
        assert vera.post("/sample-traffic", {"turn": "on"}).status_code == 403
        assert "Sample traffic is off." in text_of(vera.get("/"))
        assert AuditRecord.objects.get(outcome="denied").actor == "vera"

    def test_is_switched_for_one_flow_alone(self, ana: Client) -> None:
        ana.post("/sample-traffic", {"turn": "on"})
        ana.post("/sample-traffic", {"turn": "off", "flow": "ecommerce"})
        assert "ecommerce" not in running()
        assert "Start orders" in text_of(ana.get("/"))
        assert AuditRecord.objects.filter(target="sample_traffic:ecommerce:off", outcome="done").exists()

    def test_changes_nothing_for_an_unknown_flow(self, ana: Client) -> None:
        page = text_of(ana.post("/sample-traffic", {"turn": "on", "flow": "\x00nobody"}, follow=True))
        assert "Nothing was changed" in page
        assert not running()

    def test_changes_nothing_for_an_unknown_word(self, ana: Client) -> None:
        assert "Nothing was changed" in text_of(ana.post("/sample-traffic", {"turn": "maybe"}, follow=True))

    def test_has_no_notice_where_there_is_none(self, ana: Client, settings: Any) -> None:
        settings.SAMPLE_TRAFFIC_SWITCH = ""
        assert "Sample traffic" not in text_of(ana.get("/"))
