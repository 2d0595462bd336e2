from __future__ import annotations

from collections.abc import Iterator

import pytest

from messaging import failpoints
from messaging.errors import ConfigurationError
from messaging.settings import options


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

    def test_counts_nothing_while_off(self) -> None:
        failpoints.arm()
        failpoints.reach("claim.after")
        assert failpoints.counts() == {}
