"""No page of the console, none of its parts and no answer of its API takes more than twelve queries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks.addresses import ADDRESSES, Address
from console.ui import context
from messaging import clock
from messaging.models import Gate
from tests import rows
from tests.rows import CHARGE, RESERVE

pytestmark = pytest.mark.django_db

MOST = 12
TYPE = "ecommerce.OrderPlaced"
_NOT_COUNTED = ("SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN")


@pytest.fixture(autouse=True)
def fresh_strip() -> Iterator[None]:
    context.forget()
    yield
    context.forget()


@pytest.fixture
def operator() -> Client:
    """Nobody special: permissions come from a group, as everyone's do."""
    user = User.objects.create_user("olga")
    user.groups.add(Group.objects.get(name="operator"))
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def known() -> dict[str, Any]:
    """A bus with what makes a page ask more: a pause, an open breaker, waiting and dead work."""
    now = clock.now()
    rows.consumer(RESERVE)
    rows.consumer(CHARGE, paused_at=now, paused_by="ana", pause_reason="The card provider is down.")
    rows.consumer("notification.send", limits={"depends_on": ["mail"]}, behind_since=now)
    Gate.objects.create(
        kind=Gate.Kind.DEPENDENCY, name="mail", declared={"failures": 5, "open_for": "30s"}, opened_at=now
    )
    for number in range(60):
        one = rows.message(age=number + 1, type=TYPE, key=f"order {number}", correlation_id=f"flow {number // 4}")
        rows.attempt(one, CHARGE, "dead_lettered")
        rows.delivery(one, CHARGE)
        rows.delivery(one, due_in=60, failures=1)
        dead = rows.dead_letter(one)
    rows.outbox(one)
    item = rows.quarantined()
    return {
        "type": TYPE, "first_type": TYPE, "consumer": CHARGE, "saga_name": "orders.OrderFulfilment",
        "message": one.id, "flow": one.correlation_id, "key": one.key, "external": "external 1",
        "since": f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}", "until": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "deep_message": one.id, "deep_dead": dead.id, "deep_audit": one.id, "deep_saga": one.id,
        "deep_scheduled": "", "deep_trace": one.id, "dead": dead.id, "fingerprint": dead.fingerprint,
        "quarantined": item.id, "replay": one.id, "saga": "order 1", "failed_saga": "order 2", "trace": "0" * 32,
        "other_trace": "1" * 32, "traced_flow": one.correlation_id, "span": "0" * 16,
    }  # fmt: skip


def asked(client: Client, page: Address, known: dict[str, Any]) -> tuple[int, list[str]]:
    """Return the status of an answer and its queries, the strip's among them."""
    context.forget()
    headers = {"HX-Request": "true", "HX-Target": page.part} if page.part else {}
    with CaptureQueriesContext(connection) as taken:
        status = client.get(page.filled(known), headers=headers).status_code
    return status, [each["sql"] for each in taken if not each["sql"].startswith(_NOT_COUNTED)]


class TestEveryPage:
    @pytest.mark.long
    def test_takes_at_most_twelve_queries(self, operator: Client, known: dict[str, Any]) -> None:
        found = {page.name: asked(operator, page, known) for page in ADDRESSES}
        too_many = {name: [sql[:60] for sql in taken] for name, (_, taken) in found.items() if len(taken) > MOST}
        assert not too_many, json.dumps(too_many, indent=1)
        missing = [name for name, (status, _) in found.items() if status == 404]
        assert len(missing) < 25, missing  # of traces, sagas and replays there are none here
        assert all(status in {200, 302, 404} for status, _ in found.values())

    def test_shows_what_was_read_at_once(self, operator: Client, known: dict[str, Any]) -> None:
        page = operator.get("/").content.decode()
        assert f"{CHARGE} is paused" in page
        assert "60" in page
        assert "UnknownCurrency" in page
