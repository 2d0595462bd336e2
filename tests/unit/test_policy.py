from __future__ import annotations

from datetime import timedelta

import pytest

from messaging import ConfigurationError, ContractError, PermanentError, Retry, RetryLater
from messaging.errors import UnknownContract
from messaging.policy import LONGEST_WAIT, GiveUp, Ignore, TryAgain, decide, seconds

RETRY = Retry(immediate=2, delays=("10s", "1m"), permanent=(LookupError,), ignore=(ConnectionResetError,))


class TestDecide:
    @pytest.mark.parametrize(
        ("failures", "decision"),
        [
            (0, TryAgain(0.0)),
            (1, TryAgain(0.0)),
            (2, TryAgain(10.0)),
            (3, TryAgain(60.0)),
            (4, GiveUp("exhausted")),
            (99, GiveUp("exhausted")),
        ],
    )
    def test_tries_at_once_then_after_delays_then_gives_up(self, failures: int, decision: object) -> None:
        assert decide(ValueError(), failures=failures, retry=RETRY) == decision

    @pytest.mark.parametrize("failures", [0, 3, 99])
    @pytest.mark.parametrize(
        ("error", "decision"),
        [
            (KeyError(), GiveUp("permanent")),
            (PermanentError(), GiveUp("permanent")),
            (ContractError(), GiveUp("contract")),
            (UnknownContract(), GiveUp("contract")),
            (ConnectionResetError(), Ignore()),
            (RetryLater(after=5), TryAgain(5.0, is_failure=False)),
            (RetryLater(after=timedelta(minutes=2)), TryAgain(120.0, is_failure=False)),
            (RetryLater(after=1e13), TryAgain(LONGEST_WAIT, is_failure=False)),
        ],
    )
    def test_knows_what_retrying_cannot_help(self, error: Exception, decision: object, failures: int) -> None:
        assert decide(error, failures=failures, retry=RETRY) == decision

    def test_lets_a_consumer_ignore_what_the_bus_would_give_up(self) -> None:
        assert decide(PermanentError(), failures=0, retry=Retry(ignore=(PermanentError,))) == Ignore()

    def test_gives_up_at_the_first_failure_without_retries(self) -> None:
        assert decide(ValueError(), failures=0, retry=Retry(immediate=0, delays=())) == GiveUp("exhausted")


class TestSeconds:
    @pytest.mark.parametrize(
        ("duration", "expected"),
        [("250ms", 0.25), ("10s", 10), ("1.5m", 90), ("2h", 7200), ("1d", 86400), (3, 3), (timedelta(minutes=1), 60)],
    )
    def test_reads_a_duration(self, duration: str, expected: float) -> None:
        assert seconds(duration) == expected

    @pytest.mark.parametrize("duration", ["", "10", "ten seconds", "-1s", "1 s", "1s2m", "inf s", -1, None, "１s x"])
    def test_refuses_what_is_none(self, duration: str) -> None:
        with pytest.raises(ConfigurationError, match="is not a duration"):
            seconds(duration)


class TestRetry:
    def test_refuses_nonsense_when_it_is_declared(self) -> None:
        with pytest.raises(ConfigurationError, match="negative"):
            Retry(immediate=-1)
        with pytest.raises(ConfigurationError, match="soon"):
            Retry(delays=("soon",))

    def test_describes_itself_to_an_operator(self) -> None:
        assert RETRY.describe() == {
            "immediate": 2,
            "delays": ["10s", "1m"],
            "permanent": ["LookupError"],
            "ignore": ["ConnectionResetError"],
        }
