from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from messaging import Breaker, Context, PermanentError, Rate, Retry, clock
from messaging.delivery.loop import deliver_once
from messaging.models import ConsumerState, Gate, RollupDelta, Total, TypeTotal, Worker
from messaging.operations import override_limits
from messaging.testing import run_until_idle
from tests import rows
from tests.api import Api
from tests.factories import ANA, ANNOUNCE, CLEAN, TrainArrived, arrive, claim
from tests.factories import relay as fan_out

ORDER, WAVE = "ecommerce.OrderPlaced", "station.wave"

pytestmark = pytest.mark.django_db


def relay(*, silent_for: float = 0.0) -> Worker:
    now = clock.now()
    return Worker.objects.create(
        role="relay", name="relay-1", host="h", pid=1, started_at=now, heartbeat_at=now - timedelta(seconds=silent_for)
    )


def readiness() -> tuple[int, list[str]]:
    response = Client().get("/readyz")
    return response.status_code, json.loads(response.content)["reasons"]


def scrape(api: Api) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the samples by name, each by its label values."""
    response = api.client.get("/metrics", headers=api.headers)
    assert response.status_code == 200, response.content
    samples: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(response.content.decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return samples


def of_consumers(samples: dict[tuple[str, ...], float]) -> dict[str, float]:
    """Return what is said of consumers, by name; the examples have a dependency beside them."""
    return {name: value for (kind, name), value in samples.items() if kind == "consumer"}


class TestHealthz:
    def test_asks_no_database(self, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(0):
            assert Client().get("/healthz").status_code == 200


class TestReadyz:
    def test_is_ready_with_a_relay(self) -> None:
        relay()
        assert readiness() == (200, [])

    def test_names_a_silent_relay(self) -> None:
        relay(silent_for=3600)
        status, reasons = readiness()
        assert status == 503
        assert "No relay is alive" in reasons[0]

    def test_names_an_outbox_that_lags(self) -> None:
        relay()
        rows.outbox(rows.message(age=300))
        status, reasons = readiness()
        assert status == 503
        assert "The outbox is 30" in reasons[0]

    def test_names_a_broker_that_does_not_answer_without_its_password(self, settings: Any) -> None:
        from celery import current_app

        relay()
        before = current_app.conf.broker_url
        current_app.conf.broker_url = current_app.conf.broker_write_url = "redis://:hunter2@127.0.0.1:1/0"
        try:
            response = Client().get("/readyz")
        finally:
            current_app.conf.broker_url = current_app.conf.broker_write_url = before
        assert response.status_code == 503
        assert "broker does not answer" in response.content.decode()
        assert "hunter2" not in response.content.decode()


class TestMetrics:
    def test_are_for_tokens_that_may_read(self) -> None:
        assert Client().get("/metrics").status_code == 401
        assert Api("publish").client.get("/metrics", headers=Api("publish").headers).status_code == 403
        assert scrape(Api("read"))

    def test_are_public_where_the_deployment_says_so(self, settings: Any) -> None:
        settings.METRICS_PUBLIC = True
        assert Client().get("/metrics").status_code == 200

    def test_count_what_is_folded_and_what_is_not(self) -> None:
        values: dict[str, Any] = {
            "consumer": rows.CHARGE, "outcome": "handled", "duration_us": 2_000_000, "critical_us": 3_000_000,
        }  # fmt: skip
        Total.objects.create(count=5, buckets={"50": 4, "inf": 1}, **values)
        TypeTotal.objects.create(consumer=rows.CHARGE, type=ORDER, outcome="handled", count=5)
        unfolded = {"20": 2, "p10": 2, "w20": 2}
        RollupDelta.objects.create(minute=clock.now(), count=2, buckets=unfolded, type=ORDER, **values)
        samples = scrape(Api("read"))
        assert samples["signalbox_attempts_total"] == {(rows.CHARGE, "handled", ORDER): 7.0}
        assert samples["signalbox_processing_time_seconds_sum"] == {(rows.CHARGE,): 4.0}
        assert samples["signalbox_wakeup_latency_seconds_bucket"][rows.CHARGE, "0.02"] == 2.0
        buckets = samples["signalbox_critical_time_seconds_bucket"]
        running_sums = [buckets[rows.CHARGE, bound] for bound in ("0.01", "0.02", "0.05", "300", "+Inf")]
        assert running_sums == [0.0, 2.0, 6.0, 6.0, 7.0]
        assert samples["signalbox_critical_time_seconds_count"] == {(rows.CHARGE,): 7.0}
        assert samples["signalbox_critical_time_seconds_sum"] == {(rows.CHARGE,): 6.0}

    def test_count_what_was_published(self) -> None:
        Total.objects.create(consumer="", outcome="published", count=9, duration_us=0, critical_us=0, buckets={})
        TypeTotal.objects.create(consumer="", type=ORDER, outcome="published", count=7)
        samples = scrape(Api("read"))
        assert samples["signalbox_published_total"] == {("",): 2.0, (ORDER,): 7.0}  # two before types were counted
        assert all(consumer for consumer, *_ in samples.get("signalbox_attempts_total", {}))

    def test_show_the_backlog_of_a_paused_consumer(self) -> None:
        rows.consumer("shop.slow", paused_at=clock.now(), paused_by="ana")
        order = rows.message(age=120)
        rows.delivery(order, "shop.slow")
        rows.outbox(rows.message(age=30))
        rows.dead_letter(order, rows.RESERVE)
        rows.quarantined()
        samples = scrape(Api("read"))
        assert samples["signalbox_consumer_backlog"]["shop.slow",] == 1
        assert samples["signalbox_consumer_paused"]["shop.slow",] == 1
        assert 119 < samples["signalbox_consumer_oldest_age_seconds"]["shop.slow",] < 130
        assert samples["signalbox_outbox_rows"][()] == 1
        assert 29 < samples["signalbox_outbox_lag_seconds"][()] < 40
        assert samples["signalbox_dead_letters"][()] == 1
        assert samples["signalbox_quarantined"][()] == 1

    def test_tell_executions_from_what_is_only_counted(self) -> None:
        for outcome in ("relayed", "rescued"):
            Total.objects.create(
                consumer=rows.CHARGE, outcome=outcome, count=3, duration_us=0, critical_us=0, buckets={}
            )
        samples = scrape(Api("read"))
        for name in ("signalbox_relayed_total", "signalbox_rescued_total"):
            assert {key: value for key, value in samples[name].items() if value} == {(rows.CHARGE,): 3.0}
        assert set(samples["signalbox_crashes_total"].values()) == {0.0}
        assert "signalbox_attempts_total" not in samples

    def test_bound_their_types(self) -> None:
        TypeTotal.objects.bulk_create(
            TypeTotal(consumer="", type=f"t{n:04}", outcome="published", count=1) for n in range(300)
        )
        published = scrape(Api("read"))["signalbox_published_total"]
        assert len(published) == 201
        assert published["other",] == 100

    def test_bound_their_series(self) -> None:
        ConsumerState.objects.all().delete()
        Total.objects.bulk_create(
            Total(consumer=f"c{n:04}", outcome="handled", count=1, duration_us=0, critical_us=0, buckets={"1": 1})
            for n in range(600)
        )
        attempts = scrape(Api("read"))["signalbox_attempts_total"]
        assert len(attempts) == 501
        assert attempts["other", "handled", ""] == 100

    def test_cost_few_queries_however_many_consumers(self, django_assert_num_queries: Any) -> None:
        api = Api("read")
        scrape(api)  # notes that the token was used
        with CaptureQueriesContext(connection) as few:
            scrape(api)
        for number in range(30):
            rows.consumer(f"shop.c{number}")
        with django_assert_num_queries(len(few)):
            scrape(api)
        assert len(few) <= 19

    def test_are_for_the_scrapers_own_secret(self, settings: Any) -> None:
        settings.METRICS_TOKEN = "of-the-scraper"
        client = Client()
        assert client.get("/metrics", headers={"Authorization": "Bearer of-the-scraper"}).status_code == 200
        assert client.get("/metrics", headers={"Authorization": "Bearer of-the-scrape"}).status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer"}).status_code == 401
        assert client.get("/metrics").status_code == 401


@pytest.mark.django_db(transaction=True)
class TestMetricsOfLimits:
    def test_tell_what_is_open_held_and_overridden(self, station: Any) -> None:
        def cut(event: TrainArrived, context: Context) -> None:
            raise ConnectionError("the line is cut")

        again = Retry(immediate=0, delays=("0s",) * 9)
        broken = station.declare(cut, breaker=Breaker(failures=2), retry=again)
        slow = station.declare(name=CLEAN, rate_limit=Rate(1, per="1h", burst=2))
        narrow = station.declare(name=WAVE, concurrency=1, breaker=Breaker(failures=2))
        arrive("ICE 1", "ICE 2", "ICE 3")
        fan_out()
        claim(WAVE, limit=1)
        assert [deliver_once(broken) > 0, deliver_once(broken)] == [True, 0]
        assert [deliver_once(slow) for _ in range(3)] == [2, 0, 0]
        assert [deliver_once(narrow) for _ in range(3)] == [0, 0, 0]
        override_limits(name=CLEAN, concurrency=7, actor=ANA, reason="a quiet night")
        samples = scrape(Api("read"))
        assert of_consumers(samples["signalbox_breaker_state"]) == {ANNOUNCE: 2, WAVE: 0}
        assert of_consumers(samples["signalbox_breaker_opened_total"]) == {ANNOUNCE: 1, WAVE: 0}
        held = {labels: count for labels, count in samples["signalbox_claims_held_total"].items() if count}
        assert held == {(ANNOUNCE, "breaker"): 1, (CLEAN, "rate"): 2, (WAVE, "concurrency"): 3}
        assert samples["signalbox_consumer_overridden"] == {(ANNOUNCE,): 0, (CLEAN,): 1, (WAVE,): 0}
        Gate.objects.filter(name=ANNOUNCE).update(open_until=clock.now() - timedelta(seconds=1))
        assert of_consumers(scrape(Api("read"))["signalbox_breaker_state"]) == {ANNOUNCE: 1, WAVE: 0}

    def test_count_what_a_filter_kept_away(self, station: Any) -> None:
        station.declare(filter={"train": [{"prefix": "ICE"}]})
        arrive("ICE 1", "RB 1", "RB 2")
        run_until_idle()
        assert scrape(Api("read"))["signalbox_filtered_total"][ANNOUNCE,] == 2

    def test_count_keys_that_wait_behind_a_dead_letter(self, station: Any) -> None:
        def derail(event: TrainArrived, context: Context) -> None:
            raise PermanentError("derailed")

        station.declare(derail, ordered=True)
        for key in ("north", "south"):
            arrive("ICE 1", "ICE 2", key=key)
        run_until_idle()
        samples = scrape(Api("read"))
        assert samples["signalbox_consumer_blocked_keys"][ANNOUNCE,] == 2
        assert samples["signalbox_consumer_backlog"][ANNOUNCE,] == 2
