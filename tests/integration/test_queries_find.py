"""What operators read when they look for a message: lists, statuses, one message, groups of failures."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from messaging import clock
from messaging.models import ReceivedMessage
from messaging.queries import messages, pages
from messaging.queries.messages import MessageFilter
from tests import rows
from tests.rows import CHARGE, MAIL, RESERVE

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
EVERYTHING = MessageFilter()


@pytest.fixture(autouse=True)
def it_is_noon() -> Iterator[None]:
    clock.install(lambda: NOON)
    yield
    clock.install(None)


def status_of(message: object) -> str:
    [row] = [row for row in messages.list_messages(EVERYTHING).rows if row.id == message.id]  # type: ignore[attr-defined]
    return row.status


def types(where: MessageFilter) -> list[str]:
    return [row.type for row in messages.list_messages(where).rows]


class TestStatus:
    def test_is_handled_when_no_work_is_left(self) -> None:
        one = rows.message()
        rows.attempt(one)
        assert status_of(one) == "handled"

    def test_is_pending_in_the_outbox(self) -> None:
        one = rows.message()
        rows.outbox(one)
        assert status_of(one) == "pending"

    def test_is_running_once_claimed(self) -> None:
        one = rows.message()
        rows.delivery(one, claim_token=uuid4(), failures=2)
        assert status_of(one) == "running"

    def test_is_retrying_after_a_failure(self) -> None:
        one = rows.message()
        rows.delivery(one, failures=1, due_in=60)
        assert status_of(one) == "retrying"

    def test_is_scheduled_before_its_time(self) -> None:
        one = rows.message()
        rows.delivery(one, due_in=60)
        assert status_of(one) == "scheduled"

    def test_is_paused_while_its_consumer_is(self) -> None:
        rows.consumer(RESERVE, paused_at=NOON, paused_until=NOON + timedelta(minutes=1))
        one = rows.message()
        rows.delivery(one)
        assert status_of(one) == "paused"

    def test_is_pending_again_when_the_pause_is_over(self) -> None:
        rows.consumer(RESERVE, paused_at=NOON - timedelta(hours=1), paused_until=NOON)
        one = rows.message()
        rows.delivery(one)
        assert status_of(one) == "pending"

    def test_is_dead_whatever_other_consumers_do(self) -> None:
        one = rows.message()
        rows.delivery(one, RESERVE)
        rows.dead_letter(one, CHARGE)
        rows.attempt(one, MAIL)
        assert status_of(one) == "dead"

    def test_is_pending_while_a_replay_is_on_its_way(self) -> None:
        one = rows.message()
        rows.dead_letter(one, state="replaying")
        rows.outbox(one, consumer=CHARGE, run=2)
        assert status_of(one) == "pending"

    def test_is_handled_when_the_dead_letter_is_resolved(self) -> None:
        one = rows.message()
        rows.dead_letter(one, state="resolved", resolution="resubmitted")
        assert status_of(one) == "handled"

    def test_is_discarded_when_given_up(self) -> None:
        one = rows.message()
        rows.dead_letter(one, state="discarded", resolution="discarded")
        assert status_of(one) == "discarded"

    def test_filters_agree_with_rows_whatever_the_mixture(self) -> None:
        seed = random.randrange(10**9)
        dice = random.Random(seed)
        rows.consumer(MAIL, paused_at=NOON)
        for _ in range(120):
            self.a_random_message(dice)
        shown = {row.id: row.status for row in messages.list_messages(EVERYTHING, limit=500).rows}
        assert len(shown) == 120
        for status in get_args(messages.Status):
            where = MessageFilter(status=status)
            listed = {row.id for row in messages.list_messages(where, limit=500).rows}
            assert listed == {id for id, found in shown.items() if found == status}, f"{status}, seed {seed}"
            assert messages.count_messages(where).value == len(listed)
        details = {id: messages.get_message(id) for id in shown}
        assert {id: detail.status for id, detail in details.items() if detail} == shown

    def a_random_message(self, dice: random.Random) -> None:
        one = rows.message(age=dice.random() * 600)
        if dice.random() < 0.15:
            rows.outbox(one, consumer=dice.choice([None, RESERVE]))
        for name in (RESERVE, CHARGE, MAIL):
            match dice.randrange(6):
                case 0:
                    rows.delivery(
                        one, name, run=2, failures=dice.randrange(2), due_in=dice.choice([-5, 5]),
                        claim_token=dice.choice([None, None, uuid4()]),
                    )  # fmt: skip
                case 1:
                    states = ["open", "replaying", "resubmitting", "resolved", "discarded"]
                    rows.dead_letter(one, name, state=dice.choice(states))
                case 2 | 3:
                    rows.attempt(one, name)


class TestListMessages:
    def test_pages_show_every_row_exactly_once_in_both_directions(self) -> None:
        expected = [rows.message(age=number % 7).id for number in range(25)]
        pages_down, cursor = [], None
        while True:
            page = messages.list_messages(EVERYTHING, limit=4, after=cursor)
            pages_down.append([row.id for row in page.rows])
            if page.older is None:
                break
            cursor = page.older
        assert [id for page_ids in pages_down for id in page_ids] == sorted(expected, reverse=True)
        pages_up = [pages_down[-1]]
        before: UUID | None = pages_down[-1][0]
        while before is not None:
            page = messages.list_messages(EVERYTHING, limit=4, before=before)
            pages_up.append([row.id for row in page.rows])
            before = page.newer
        assert pages_up[::-1] == pages_down

    def test_first_page_has_nothing_newer_and_last_nothing_older(self) -> None:
        for _ in range(3):
            rows.message()
        page = messages.list_messages(EVERYTHING, limit=3)
        assert (page.newer, page.older) == (None, None)

    def test_rows_that_arrive_do_not_move_the_page(self) -> None:
        for number in range(6):
            rows.message(age=10 + number)
        first = messages.list_messages(EVERYTHING, limit=3)
        before = messages.list_messages(EVERYTHING, limit=3, after=first.older)
        rows.message()
        assert messages.list_messages(EVERYTHING, limit=3, after=first.older) == before

    @pytest.mark.parametrize(
        "where",
        [
            MessageFilter(type="ecommerce.StockReserved"),
            MessageFilter(type="StockReserved"),
            MessageFilter(key="order 7"),
            MessageFilter(correlation_id="basket-7"),
            MessageFilter(source="warehouse"),
            MessageFilter(consumer=MAIL),
            MessageFilter(consumer=MAIL, status="handled"),
            MessageFilter(since=NOON - timedelta(seconds=100), until=NOON - timedelta(seconds=50)),
        ],
        ids=lambda where: ", ".join(f"{k}={v}" for k, v in vars(where).items() if v),
    )
    def test_narrows_by(self, where: MessageFilter) -> None:
        rows.attempt(rows.message(age=10), CHARGE)
        wanted = rows.message(
            age=70, type="ecommerce.StockReserved", key="order 7", correlation_id="basket-7", source="warehouse"
        )
        rows.attempt(wanted, MAIL)
        rows.message(age=200)
        assert types(where) == ["ecommerce.StockReserved"]
        assert messages.count_messages(where).value == 1

    def test_narrows_a_status_to_one_consumer(self) -> None:
        one, other = rows.message(), rows.message()
        rows.dead_letter(one, CHARGE)
        rows.dead_letter(other, MAIL)
        found = messages.list_messages(MessageFilter(status="dead", consumer=MAIL)).rows
        assert [row.id for row in found] == [other.id]

    @pytest.mark.parametrize("text", ["a\x00b", "\ud800", "x" * 5000, "'; DROP TABLE messaging_message; --"])
    def test_finds_nothing_for_text_no_database_can_hold(self, text: str) -> None:
        rows.message()
        for name in ("type", "key", "correlation_id", "consumer", "source"):
            where: dict[str, Any] = {name: text}
            assert messages.list_messages(replace(EVERYTHING, **where)).rows == ()
        assert messages.find_message(text) is None

    def test_shows_one_dot_for_each_consumer(self) -> None:
        one = rows.message()
        rows.delivery(one, RESERVE, claim_token=uuid4())
        rows.dead_letter(one, CHARGE)
        rows.attempt(one, CHARGE, "dead_lettered")
        rows.attempt(one, MAIL)
        [row] = messages.list_messages(EVERYTHING).rows
        assert {dot.consumer: dot.status for dot in row.deliveries} == {
            CHARGE: "dead", RESERVE: "running", MAIL: "handled",
        }  # fmt: skip

    def test_costs_the_same_number_of_queries_however_many_rows(self) -> None:
        for _ in range(40):
            one = rows.message()
            rows.delivery(one, RESERVE)
            rows.dead_letter(one, CHARGE)
            rows.attempt(one, MAIL)
            rows.outbox(one)
        with CaptureQueriesContext(connection) as taken:
            messages.list_messages(EVERYTHING)
        assert len(taken) <= 8
        assert not any('"body"' in query["sql"] for query in taken.captured_queries)

    def test_counts_only_what_is_newer_for_the_pill(self) -> None:
        old = rows.message(age=5)
        rows.message(age=3)
        rows.message(age=2, type="ecommerce.StockReserved")
        assert messages.count_newer(MessageFilter(type="ecommerce.OrderPlaced"), than=old.id).value == 1

    def test_count_gives_up_at_the_cap(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pages, "COUNT_CAP", 3)
        for _ in range(5):
            rows.message()
        assert messages.count_messages(EVERYTHING) == pages.CappedCount(value=3, is_capped=True)


class TestHistogram:
    def test_every_message_stands_in_its_bin_once(self) -> None:
        since = NOON - timedelta(minutes=10)
        for second in (0, 59, 60, 599):
            rows.message(published_at=since + timedelta(seconds=second))
        rows.dead_letter(rows.message(published_at=since + timedelta(seconds=61)))
        rows.message(published_at=since - timedelta(seconds=1))
        rows.message(published_at=NOON)
        bins = messages.histogram(EVERYTHING, since=since, until=NOON, bins=10)
        assert bins == [(0, 2), (1, 1), *[(0, 0)] * 7, (0, 1)]

    def test_follows_the_filter(self) -> None:
        rows.message(age=30, type="ecommerce.StockReserved")
        rows.message(age=30)
        where = MessageFilter(type="ecommerce.StockReserved", status="handled")
        assert messages.histogram(where, since=NOON - timedelta(minutes=1), until=NOON, bins=1) == [(0, 1)]
        unknown = MessageFilter(key="\x00")
        assert messages.histogram(unknown, since=NOON - timedelta(minutes=1), until=NOON, bins=2) == [(0, 0), (0, 0)]


class TestFindMessage:
    def test_resolves_ids_of_every_kind(self) -> None:
        root = rows.message(age=9, correlation_id="basket-7")
        rows.message(age=8, correlation_id="basket-7")
        dead = rows.dead_letter(root)
        ReceivedMessage.objects.create(
            source="erp", external_id="INV-9", body_hash="0", message_id=root.id, received_at=NOON
        )
        for text in (str(root.id), f" {root.id.hex.upper()} ", str(dead.id), "INV-9", "basket-7"):
            assert messages.find_message(text) == root.id

    def test_says_nothing_for_unknown_ids(self) -> None:
        for text in ("", "basket", str(uuid4())):
            assert messages.find_message(text) is None

    def test_suggests_types_seen(self) -> None:
        rows.message(type="zoo.AnimalFed")
        rows.message(type="zoo.AnimalFed")
        assert messages.known_types().count("zoo.AnimalFed") == 1


class TestGetMessage:
    def test_tells_every_attempt_and_the_next_one(self) -> None:
        one = rows.message(body=b'{"a": 1}')
        rows.attempt(one, RESERVE, "retried", next_at=NOON + timedelta(seconds=10))
        rows.delivery(one, RESERVE, failures=1, due_in=10)
        rows.attempt(one, CHARGE, "dead_lettered")
        dead = rows.dead_letter(one, CHARGE)
        found = messages.get_message(one.id)
        assert found is not None
        charge, reserve = found.deliveries
        assert (charge.status, charge.dead_letter_id) == ("dead", dead.id)
        assert (reserve.status, reserve.failures) == ("retrying", 1)
        assert reserve.attempts[0].next_at == NOON + timedelta(seconds=10)
        assert "UnknownCurrency" in charge.attempts[0].traceback
        assert found.body == b'{"a": 1}'
        assert found.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"

    def test_orders_the_flow_as_a_tree_of_causes(self) -> None:
        root = rows.message(age=9, correlation_id="f", type="t.Root")
        left = rows.message(age=8, correlation_id="f", type="t.Left", causation_id=str(root.id))
        rows.message(age=7, correlation_id="f", type="t.Right", causation_id=str(root.id))
        rows.message(age=6, correlation_id="f", type="t.Leaf", causation_id=str(left.id))
        found = messages.get_message(left.id)
        assert found is not None
        tree = [(item.type, item.depth, item.is_this) for item in found.related]
        assert tree == [("t.Root", 0, False), ("t.Left", 1, True), ("t.Leaf", 2, False), ("t.Right", 1, False)]

    def test_survives_a_circle_of_causes(self) -> None:
        one, other = rows.id_of(NOON), rows.id_of(NOON)
        rows.message(id=one, correlation_id="f", causation_id=str(other))
        rows.message(id=other, correlation_id="f", causation_id=str(one))
        found = messages.get_message(one)
        assert found is not None
        assert {item.id for item in found.related} == {one, other}

    def test_caps_a_large_flow_and_says_so(self) -> None:
        for number in range(205):
            last = rows.message(age=300 - number, correlation_id="f")
        with CaptureQueriesContext(connection) as taken:
            found = messages.get_message(last.id)
        assert found is not None
        assert found.related_is_capped
        assert len(found.related) == 200
        assert any(item.is_this for item in found.related)
        assert len(taken) <= 9

    def test_is_none_for_an_unknown_id(self) -> None:
        assert messages.get_message(uuid4()) is None
