"""Is a reading out of line? The modified z-score of Iglewicz and Hoaglin over a sensor's last readings, by numpy.

The median and the median absolute deviation hardly move when the window itself holds anomalies, as a mean and a
standard deviation would; nothing has to be trained, and an engineer can check an alert with pencil and paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WINDOW, NEEDED = 60, 20
"""Readings compared with, and how many there must be at least."""
THRESHOLD = 8.0
"""Iglewicz and Hoaglin suggest 3.5 for one look; a sensor is looked at every few seconds."""
NOISE = {"pressure": 0.02, "temperature": 0.1, "vibration": 0.05}
"""The least deviation that means something, by kind: else one that stands still would alarm at its first twitch."""
_CONSISTENT = 0.6745  # makes the deviation that of a normal distribution


@dataclass(frozen=True)
class Score:
    usual: float
    score: float

    @property
    def is_anomaly(self) -> bool:
        return abs(self.score) > THRESHOLD


def judge(recent: Sequence[float], value: float, *, kind: str) -> Score | None:
    """Compare a reading with the ones before it; None while there are too few."""
    least = NOISE[kind]
    if len(recent) < NEEDED:
        return None
    import numpy as np  # at its first use, so that starting stays quick

    window = np.asarray(recent, dtype=float)
    usual = float(np.median(window))
    deviation = max(float(np.median(np.abs(window - usual))), least)
    return Score(usual=usual, score=_CONSISTENT * (value - usual) / deviation)
