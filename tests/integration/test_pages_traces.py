"""The pages of flows and traces: what they show, how they are reached, and that nothing in them is trusted."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from messaging import clock
from messaging.models import Message
from messaging.spans import storing
from messaging.spans.records import SpanRecord
from tests import rows
from tests.pages import EVIL, row_ids, signed_in

pytestmark = pytest.mark.django_db
TRACE, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "5b8efff798038103d269b633813fc60c"


@pytest.fixture
def ana() -> Client:
    return signed_in("ana", "view_console")


def span(number: int, parent: int = 0, *, at_ms: float = 0, ms: float = 10, trace_id: str = TRACE, **given: Any) -> Any:
    began = int((clock.now() - timedelta(seconds=30)).timestamp() * 1e6) + int(at_ms * 1000)
    values: dict[str, Any] = {
        "name": f"step {number}", "kind": "server", "service": "shop", "scope": "", "started_us": began,
        "duration_us": int(ms * 1000),
    }  # fmt: skip
    parent_id = f"{parent:016x}" if parent else ""
    return SpanRecord(trace_id=trace_id, span_id=f"{number:016x}", parent_id=parent_id, **{**values, **given})


def order_flow() -> Message:
    """An order whose payment failed once, waited ten seconds and was then made; its mail is not yet sent."""
    first = rows.message(age=60, correlation_id="order 7", key="order 7", traceparent=rows.TRACEPARENT)
    began = first.published_at + timedelta(seconds=1)
    rows.attempt(first, rows.CHARGE, "retried", started_at=began, next_at=began + timedelta(seconds=10))
    again = began + timedelta(seconds=10)
    rows.attempt(first, rows.CHARGE, number=2, started_at=again, duration_us=500_000, id=rows.id_of(again))
    paid = again + timedelta(milliseconds=200)
    effect = rows.message(
        published_at=paid, type="ecommerce.PaymentProcessed", correlation_id="order 7", causation_id=str(first.id),
        traceparent=rows.TRACEPARENT,
    )  # fmt: skip
    rows.delivery(effect, rows.MAIL)
    return first


class TestFlow:
    def test_shows_who_published_what_to_whom_with_every_attempt_and_wait(self, ana: Client) -> None:
        order_flow()
        page = ana.get(reverse("flow", args=["order 7"])).content.decode()
        words = re.sub(r"<[^>]+>", " ", page)
        for text in ("OrderPlaced", "charge_card", "attempt 1", "attempt 2", "waits 10 s for attempt 2", "send_email"):
            assert text in words
        assert "1 delivery waits" in words

    def test_knows_the_consumer_that_published_a_follow_up(self, ana: Client) -> None:
        order_flow()
        page = ana.get(reverse("flow", args=["order 7"]), {"tab": "tree"})
        assert len(row_ids(page)) == 2
        assert rows.CHARGE in page.content.decode()

    def test_follows_changes_until_it_is_frozen(self, ana: Client) -> None:
        order_flow()
        address = reverse("flow", args=["order 7"])
        assert 'hx-trigger="changed:messages' in ana.get(address).content.decode()
        assert 'hx-trigger="changed:messages' not in ana.get(address, {"frozen": "1"}).content.decode()

    def test_is_read_again_as_its_part_alone(self, ana: Client) -> None:
        order_flow()
        part = ana.get(reverse("flow", args=["order 7"]), headers={"HX-Request": "true", "HX-Target": "flow"})
        assert part.content.decode().lstrip().startswith('<div class="page-part" id="flow"')

    def test_of_five_hundred_messages_is_shown_in_windows(
        self, ana: Client, django_assert_max_num_queries: Any
    ) -> None:
        for _ in range(501):
            one = rows.message(correlation_id="long")
            rows.attempt(one)
        with django_assert_max_num_queries(30):
            page = ana.get(reverse("flow", args=["long"])).content.decode()
        assert "Rows 1 to 60 of 500" in re.sub(r"<[^>]+>", "", page)
        assert "row=60" in page

    def test_trusts_no_name(self, ana: Client) -> None:
        one = rows.message(correlation_id=EVIL, key=EVIL, type=EVIL[:100], source=EVIL)
        rows.attempt(one, EVIL, "dead_lettered", error_type=EVIL)
        for tab in ("sequence", "tree"):
            page = ana.get(reverse("flow", args=[EVIL]), {"tab": tab}).content.decode()
            assert "<script>alert" not in page
            assert "<img src=x" not in page

    def test_that_is_unknown_is_not_found(self, ana: Client) -> None:
        assert ana.get(reverse("flow", args=["nothing"])).status_code == 404
        assert ana.get("/flows/a%00b").status_code in {400, 404}

    def test_is_for_people_who_may_see_the_console(self) -> None:
        order_flow()
        assert Client().get(reverse("flow", args=["order 7"])).status_code == 302
        assert signed_in("eve").get(reverse("flow", args=["order 7"])).status_code == 403


class TestTraces:
    def test_are_listed_by_what_is_asked(self, ana: Client) -> None:
        failed = span(2, ms=50, trace_id=OTHER, status="error", service="billing")
        storing.write([span(1, ms=5000), failed])
        address = reverse("traces")
        assert set(row_ids(ana.get(address))) == {TRACE, OTHER}
        assert row_ids(ana.get(address, {"view": "failed"})) == [OTHER]
        assert row_ids(ana.get(address, {"view": "slow"})) == [TRACE, OTHER]
        assert row_ids(ana.get(address, {"service": "billing"})) == [OTHER]
        assert row_ids(ana.get(address, {"min": "1000"})) == [TRACE]
        assert row_ids(ana.get(address, {"max": "1000"})) == [OTHER]
        assert row_ids(ana.get(address, {"service": "nobody"})) == []

    def test_say_what_of_a_filter_they_did_not_understand(self, ana: Client) -> None:
        page = ana.get(reverse("traces"), {"min": "fast"}).content.decode()
        assert "min is not a length in milliseconds" in page

    def test_hide_the_machinery_until_asked(self, ana: Client) -> None:
        storing.write([span(1, attributes={"messaging.operation.name": "relay"})])
        assert row_ids(ana.get(reverse("traces"))) == []
        assert row_ids(ana.get(reverse("traces"), {"inner": "1"})) == [TRACE]

    def test_are_paged_by_key(self, ana: Client) -> None:
        storing.write([span(1, trace_id=f"{number:032x}") for number in range(1, 61)])
        first = ana.get(reverse("traces"))
        older = re.search(r'rel="next" href="([^"]+)"', first.content.decode())
        assert older
        second = ana.get(reverse("traces") + older[1].replace("&amp;", "&"))
        assert len(row_ids(first)) == 50
        assert len(set(row_ids(first)) | set(row_ids(second))) == 60

    @pytest.mark.parametrize("page", ["traces", "messages"])
    def test_are_jumped_to_by_trace_id_traceparent_and_correlation(self, ana: Client, page: str) -> None:
        order_flow()
        storing.write([span(1)])
        for text in (TRACE, TRACE.upper(), rows.TRACEPARENT):
            assert ana.get(reverse(page), {"q": text}).headers["Location"] == reverse("trace", args=[TRACE])
        assert ana.get(reverse(page), {"q": "order 7"}).headers["Location"] == reverse("flow", args=["order 7"])


class TestTrace:
    def test_shows_spans_as_a_tree_with_what_the_end_waited_for(self, ana: Client) -> None:
        storing.write([span(1, ms=100), span(2, 1, at_ms=5, ms=10), span(3, 1, at_ms=20, ms=80)])
        page = ana.get(reverse("trace", args=[TRACE])).content.decode()
        names = re.findall(r"<b>(step \d)</b>", page)
        assert names == ["step 1", "step 2", "step 3"]

    def test_leaves_what_ran_beside_the_critical_path_plain(self, ana: Client) -> None:
        storing.write([span(1, ms=100), span(2, 1, at_ms=30, ms=10), span(3, 1, at_ms=20, ms=80)])
        page = ana.get(reverse("trace", args=[TRACE])).content.decode()
        assert re.findall(r"<b>(step \d)</b>", page) == ["step 1", "step 3"]

    def test_shows_a_span_with_its_events_and_attributes(self, ana: Client) -> None:
        events = [{"name": "exception", "at_us": 1, "attributes": {"exception.message": EVIL}}]
        storing.write([span(1, events=events, attributes={EVIL: EVIL}, name=EVIL, service=EVIL, status="error")])
        page = ana.get(reverse("trace", args=[TRACE]), {"detail": f"{1:016x}"}).content.decode()
        assert "exception.message" in page
        assert "<script>alert" not in page

    def test_of_five_thousand_spans_is_shown_in_windows_under_a_map(self, ana: Client) -> None:
        storing.write([span(1, ms=6000), *(span(number, 1, at_ms=number) for number in range(2, 5001))])
        page = ana.get(reverse("trace", args=[TRACE])).content.decode()
        assert page.count('class="fall"') == 200
        assert 'class="minimap"' in page
        assert '<a href="?span=4800" aria-label="Spans 4,801 to 5,000">' in page
        last = ana.get(reverse("trace", args=[TRACE]), {"span": "4800"}).content.decode()
        assert "step 5000" in last

    def test_survives_circles_and_lost_parents(self, ana: Client) -> None:
        storing.write([span(1, 2), span(2, 1), span(3, 99), span(4, 4)])
        page = ana.get(reverse("trace", args=[TRACE])).content.decode()
        assert page.count('class="fall"') == 4

    def test_takes_a_span_that_was_sent_twice_once(self, ana: Client) -> None:
        storing.write([span(1), span(1)])
        assert ana.get(reverse("trace", args=[TRACE])).content.decode().count('class="fall"') == 1

    def test_is_compared_with_another(self, ana: Client) -> None:
        storing.write([span(1, ms=10), span(1, ms=200, trace_id=OTHER)])
        page = ana.get(reverse("trace-compare", args=[TRACE]), {"with": OTHER}).content.decode()
        assert "+ 190 ms" in page
        assert "No such trace" in ana.get(reverse("trace-compare", args=[TRACE]), {"with": "x"}).content.decode()

    def test_that_is_unknown_is_not_found(self, ana: Client) -> None:
        assert ana.get(reverse("trace", args=[OTHER])).status_code == 404


class TestLinks:
    def test_lead_from_a_message_and_a_dead_letter_to_their_flow(self, ana: Client) -> None:
        first = order_flow()
        letter = rows.dead_letter(first, rows.MAIL)
        flow = reverse("flow", args=["order 7"])
        message = ana.get(reverse("message", args=[first.id])).content.decode()
        assert f'href="{flow}"' in message
        assert f'href="{reverse("trace", args=[TRACE])}"' in message
        assert f'href="{flow}"' in ana.get(reverse("dead-letter", args=[letter.id])).content.decode()
