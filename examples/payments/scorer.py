"""A fraud scoring service, simulated: device, country and amount decide what happens, so it can be repeated."""

from __future__ import annotations

from dataclasses import dataclass

KNOWN, STOLEN, SLOW = "dev_known", "dev_stolen", "dev_slow_scorer"
LIMIT_CENTS = 500_000
TIMEOUTS = 3
"""For the slow device the scorer answers after this many attempts failed."""
# A bug on purpose: AN, the code of a country dissolved in 2010, still comes from old terminals.
_RISK = {"CH": 3, "DE": 2, "FR": 3, "GB": 4, "NL": 2, "SE": 1}


class ScorerTimeout(Exception):
    """The scorer did not answer in time; asking again changes nothing but the wait."""


@dataclass(frozen=True)
class Verdict:
    score: int
    reason: str
    """Empty when approved."""


def score(*, amount_cents: int, country: str, device: str, attempt: int) -> Verdict:
    """Judge a payment; the same payment gets the same verdict.

    Raises:
        ScorerTimeout: succeeds when tried again later.
    """
    if device == SLOW and attempt <= TIMEOUTS:
        raise ScorerTimeout("No answer from the fraud scorer within 1 s.")
    risk = _RISK[country]
    if device == STOLEN:
        return Verdict(score=97, reason="the device was reported stolen")
    if amount_cents > LIMIT_CENTS:
        return Verdict(score=80, reason=f"more than {LIMIT_CENTS / 100:.0f} at once")
    return Verdict(score=risk, reason="")
