"""``manage.py doctor`` says what holds deliveries up on purpose, with its remedy."""

from __future__ import annotations

import json
from contextlib import suppress
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from messaging import Breaker, pressure
from messaging.operations import trip_breaker
from tests.factories import ANA, ANNOUNCE, arrive, relay

pytestmark = pytest.mark.django_db(transaction=True)


def warnings_about(area: str) -> list[str]:
    out = StringIO()
    with suppress(SystemExit):  # no role is alive here, which is a problem
        call_command("doctor", "--json", stdout=out)
    findings = json.loads(out.getvalue())["findings"]
    return [each["text"] for each in findings if each["area"] == area and each["level"] == "warning"]


def test_names_an_open_breaker_with_who_opened_it_and_why(station: Any) -> None:
    station.declare(breaker=Breaker())
    assert not warnings_about("breakers")
    trip_breaker(kind="consumer", name=ANNOUNCE, actor=ANA, reason="wrong points")
    assert warnings_about("breakers") == [f"That of {ANNOUNCE} was opened by ana: wrong points. It holds {ANNOUNCE}."]


def test_names_who_is_over_the_backlog_limit(station: Any) -> None:
    station.declare(backlog_limit=2)
    arrive("ICE 1", "ICE 2", "ICE 3")
    relay()
    assert not warnings_about("backlog")
    pressure.note()
    assert warnings_about("backlog") == [f"Over their limit, so that ingresses refuse: {ANNOUNCE}."]
