from __future__ import annotations

import ast
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from messaging import failpoints
from messaging.database import FAILPOINTS
from messaging.database.statements import Store
from messaging.errors import ConfigurationError
from messaging.settings import options

ROOT = Path(failpoints.__file__).resolve().parent
WITHOUT_TRANSACTION = {
    ("failpoints.py", "atomic"): "is the one that has them",
    ("audit.py", "record"): "two inserts of the operation around it, whose commit has them; alone it is a denial",
    ("delivery/delivering.py", "_may_run"): "reads only: the rows stay as they were",
    ("delivery/delivering.py", "_read"): "reads only: the rows stay as they were",
    ("delivery/batches.py", "deliver_batch"): "reads only: the rows stay as they were",
    ("delivery/batches.py", "_outside"): "reads only: the rows stay as they were",
    ("spans/storing.py", "write"): "pictures for people: losing some is harmless",
    ("database/snapshots.py", "snapshot"): "reads only, for reports",
    ("replays/shadow.py", "run_in_shadow"): "is always rolled back",
}
"""Transactions of the bus without failpoints, and why a death inside changes nothing."""
WITHOUT_STATEMENT = {
    "beat": "renews a time; the next one comes in a moment, and a death is what its absence means",
    "end_sessions": "ends others' sessions; what it leaves is ended at the next rescue",
    "name_session": "names this session, which ends with the process",
    "lock_subscriptions": "takes a lock inside the transaction of synchronise, which has them",
    "now": "reads the time",
    "is_ripe": "a question before the claim, which writes nothing",
}
"""Statements of the store without failpoints, and why."""


@pytest.fixture
def faults_allowed(settings: object) -> Iterator[None]:
    settings.MESSAGING = {**getattr(settings, "MESSAGING", {}), "allow_faults": True}  # type: ignore[attr-defined]
    options.cache_clear()
    yield
    failpoints._armed = None
    options.cache_clear()


class TestArming:
    def test_is_refused_where_the_settings_do_not_allow_faults(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(failpoints.VARIABLE, "claim.after:1")
        with pytest.raises(ConfigurationError, match="not allowed here: unset it"):
            failpoints.arm()

    @pytest.mark.usefixtures("faults_allowed")
    @pytest.mark.parametrize("given", [":1", "claim.after:x", "claim.after:1:explode"])
    def test_refuses_what_it_cannot_read(self, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
        monkeypatch.setenv(failpoints.VARIABLE, given)
        with pytest.raises(ConfigurationError, match="name:hit"):
            failpoints.arm()

    @pytest.mark.usefixtures("faults_allowed")
    def test_counts_what_is_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(failpoints.VARIABLE, failpoints.COUNT_ONLY)
        failpoints.arm()
        failpoints.reach("claim.after")
        failpoints.reach("claim.after")
        assert failpoints.counts() == {"claim.after": 2}

    @pytest.mark.usefixtures("faults_allowed")
    def test_goes_on_counting_where_the_process_before_it_ended(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv(failpoints.VARIABLE, "claim.after:4 claim.before:9")
        monkeypatch.setenv(failpoints.TALLY, str(tmp_path / "tally"))
        for _ in range(3):
            failpoints.arm()
            failpoints.reach("claim.after")
        assert failpoints.counts() == {"claim.after": 3}
        fallen: list[int] = []
        monkeypatch.setattr("os.kill", lambda _, by: fallen.append(by))
        failpoints.reach("claim.after")
        assert fallen == [signal.SIGKILL]

    def test_counts_nothing_while_off(self) -> None:
        failpoints.arm()
        failpoints.reach("claim.after")
        assert failpoints.counts() == {}


class TestCoverage:
    """A boundary that the sweep does not know is a moment at which nobody ever died."""

    def test_has_failpoints_at_every_statement_of_the_store_or_says_why_not(self) -> None:
        statements = {name for name, value in vars(Store).items() if callable(value) and not name.startswith("_")}
        assert statements - FAILPOINTS == set(WITHOUT_STATEMENT)
        assert statements >= FAILPOINTS

    def test_has_failpoints_at_every_transaction_of_the_bus_or_says_why_not(self) -> None:
        assert set(bare_transactions()) == set(WITHOUT_TRANSACTION)


def bare_transactions() -> Iterator[tuple[str, str]]:
    """Yield the file and function of each ``transaction.atomic()``; what users test with is not the bus."""
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT)
        if relative.parts[0] in ("testing", "migrations"):
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and any(map(opens_transaction, ast.walk(function))):
                yield str(relative), function.name


def opens_transaction(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "transaction.atomic"
