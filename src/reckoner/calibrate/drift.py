"""A change of level, noticed by a two-sided sum of what the forecasts missed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from reckoner.calibrate.experts import FIRST_VARIANCE, NU

SLACK, ALARM, MOST = 1.0, 10.0, 3.0
"""In standard deviations: what a miss may have for free, the sum that makes an event, and the most one miss counts.
E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954. Six misses of the largest size in a row are an event;
a lone timeout is none. Chosen so that a stable stream of 10,000 requests has none (assumption)."""

CALM = 30
"""Outcomes after an event during which the same direction makes no second one: the forecast is still catching up."""


class Drift(NamedTuple):
    """A change of level.

    Parameters
    ----------
    at : float
        When it was noticed. [s since 1970]
    ratio : float
        Times over forecasts during the change, geometric mean: 2.0 where requests now take twice as long.
    requests : int
        Outcomes it took to notice.
    sample_count : int
        Outcomes of this model recorded so far.
    """

    at: float
    ratio: float
    requests: int
    sample_count: int


class Watch:
    """Sums misses upwards and downwards; forgets both after an event.

    Examples
    --------
    >>> watch = Watch()
    >>> [watch.add(0.02 * (-1) ** i) for i in range(400)].count(None)
    400
    >>> [watch.add(0.7) for i in range(5)]
    [None, None, None, None, None]
    >>> ratio, requests = watch.add(0.7)
    >>> round(ratio, 3), requests
    (2.014, 6)
    """

    __slots__ = ("calm", "down", "up", "variance", "n")  # noqa: RUF023

    def __init__(self) -> None:
        self.up = [0.0, 0.0, 0.0, 0.0]  # sum of scores, sum of |miss| miss, sum of |miss|, how many
        self.down = [0.0, 0.0, 0.0, 0.0]
        self.calm = [0.0, 0.0]  # outcomes until the next event upwards, and downwards
        self.variance = FIRST_VARIANCE
        self.n = 0

    def add(self, residual: float) -> tuple[float, int] | None:
        """Learn a log residual; return the ratio and the number of outcomes of an event that it completes."""
        self.n += 1
        score = residual / math.sqrt(self.variance)
        weight = (NU + 1.0) / (NU + score * score)
        rate = 0.02 if self.n > 44 else 1.0 / (self.n + 5.0)
        variance = self.variance + rate * (weight * residual * residual - self.variance)
        self.variance = variance if variance > 1e-4 else 1e-4
        score = MOST if score > MOST else -MOST if score < -MOST else score
        return self._side(0, self.up, score, residual) or self._side(1, self.down, -score, residual)

    def _side(self, index: int, side: list[float], score: float, residual: float) -> tuple[float, int] | None:
        if self.calm[index] > 0.0:
            self.calm[index] -= 1.0
            return None
        total = side[0] + score - SLACK
        if total <= 0.0:
            if side[0]:
                side[0] = side[1] = side[2] = side[3] = 0.0
            return None
        side[0] = total
        miss = abs(residual)  # large misses count more: the forecast already follows while the sum still grows
        side[1] += miss * residual
        side[2] += miss
        side[3] += 1.0
        if total <= ALARM:
            return None
        event = math.exp(side[1] / side[2]), int(side[3])
        side[0] = side[1] = side[2] = side[3] = 0.0
        self.calm[index] = float(CALM)
        return event

    def to_list(self) -> list[Any]:
        """Plain values for the state file."""
        return [self.n, self.variance, self.up, self.down, self.calm]

    @classmethod
    def from_list(cls, values: list[Any]) -> Watch:
        """Read what :meth:`to_list` wrote."""
        watch = cls()
        watch.n, watch.variance = int(values[0]), float(values[1])
        watch.up, watch.down, watch.calm = ([float(v) for v in side] for side in values[2:5])
        return watch
