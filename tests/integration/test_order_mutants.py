"""PostgreSQL's statements of order with one guard taken out: tests of order that do not notice prove nothing.

The simulation takes these out of SQLite's statements; it plays no PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from messaging.database import postgresql_lanes as lanes
from messaging.database import postgresql_sql as sql
from tests.integration.test_order import TestBlock as Block
from tests.integration.test_order import TestOrder as Order

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.only_on("postgresql")]
STATEMENTS = [
    (lanes, "CLAIM_IN_ORDER"), (sql, "LOCK_IN_ORDER"), (sql, "LOCK_ONE_IN_ORDER"), (sql, "LOCK_CHUNK_IN_ORDER"),
]  # fmt: skip
_FIRST = "d.key = lane.key AND d.position IS NOT NULL"
ONE_AT_A_TIME = (_FIRST, f"{_FIRST} AND d.claim_token IS NULL")
LOOK_AGAIN, RELAYED, DEAD = (lanes.MAY_RUN, ""), (lanes._RELAYED, "TRUE"), (lanes._DEAD, "TRUE")
WITHOUT: dict[str, tuple[list[tuple[str, str]], Callable[[Any], None]]] = {
    "one claim of a key at a time": (
        [ONE_AT_A_TIME],
        lambda station: Order().test_of_two_keys_runs_side_by_side(station),
    ),
    "a second look under the lock": (
        [LOOK_AGAIN],
        lambda station: Order().test_lets_no_late_worker_run_what_follows_a_claim_it_lost(station),
    ),
    "a look into the outbox": (
        [RELAYED],
        lambda station: Order().test_waits_for_an_earlier_one_that_a_relay_has_in_hand(station),
    ),
    "a look at dead letters": (
        [DEAD],
        lambda station: Block().test_holds_what_follows_a_dead_letter_of_the_key(station),
    ),
}
"""What is replaced by what, and the test that must fail of it."""


class TestOrderOnPostgreSQL:
    @pytest.mark.parametrize("guard", WITHOUT)
    def test_is_seen_to_break_without(self, guard: str, station: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        taken_out, test = WITHOUT[guard]
        for old, new in taken_out:
            changed = {(module, name) for module, name in STATEMENTS if old in getattr(module, name)}
            assert changed, "the statements changed"
            for module, name in changed:
                monkeypatch.setattr(module, name, getattr(module, name).replace(old, new))
        with pytest.raises(AssertionError):
            test(station)
