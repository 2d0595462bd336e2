from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from messaging import ConfigurationError, ContractError, PermanentError, Retry, RetryLater
from messaging.errors import UnknownContract
from messaging.policy import LONGEST_WAIT, GiveUp, Ignore, TryAgain, decide, luck_of, seconds

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


class TestPolicyOfAnError:
    LIMITED = Retry(immediate=0, delays=("30s",), jitter=0.0)
    BOTH = RETRY.on(ConnectionError, retry=LIMITED).on(OSError, retry=Retry(immediate=1, delays=(), ignore=(OSError,)))

    def test_is_the_first_case_that_fits_else_the_policy_itself(self) -> None:
        assert decide(ConnectionError(), failures=0, retry=self.BOTH) == TryAgain(30.0)
        assert decide(ConnectionError(), failures=1, retry=self.BOTH) == GiveUp("exhausted")
        assert decide(FileNotFoundError(), failures=0, retry=self.BOTH) == Ignore()
        assert decide(ValueError(), failures=2, retry=self.BOTH) == TryAgain(10.0)

    def test_leaves_the_policy_it_was_made_from_as_it_was(self) -> None:
        assert RETRY.cases == ()

    def test_is_shown_to_an_operator(self) -> None:
        assert self.BOTH.describe()["on ConnectionError"] == {
            "immediate": 0, "delays": ["30s"], "permanent": [], "ignore": [],
        }  # fmt: skip

    def test_needs_an_exception(self) -> None:
        with pytest.raises(ConfigurationError, match="exceptions"):
            RETRY.on(retry=self.LIMITED)


class TestJitter:
    SPREAD = Retry(immediate=0, delays=("100s",), jitter=0.2)

    def test_spreads_a_delay_around_its_length(self) -> None:
        found = [decide(ValueError(), failures=0, retry=self.SPREAD, luck=luck) for luck in (0.0, 0.5, 1.0)]
        assert [each.after for each in found if isinstance(each, TryAgain)] == pytest.approx([80, 100, 120])

    def test_gives_a_message_the_same_luck_each_time_and_others_another(self) -> None:
        lucks = [luck_of(UUID(int=n), failures) for n in range(200) for failures in range(3)]
        assert lucks == [luck_of(UUID(int=n), failures) for n in range(200) for failures in range(3)]
        assert min(lucks) < 0.1
        assert max(lucks) > 0.9

    def test_is_at_most_the_whole_delay(self) -> None:
        with pytest.raises(ConfigurationError, match="jitter"):
            Retry(jitter=1.1)
