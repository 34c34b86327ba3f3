"""A change of level, noticed by a two-sided sum of what the forecasts missed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from reckoner.calibrate.experts import FIRST_VARIANCE, NU

SLACK, ALARM, MOST = 0.5, 8.0, 3.0
"""In standard deviations: what a miss may have for free, the sum that makes an event, and the most one miss counts.
E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954. With normal misses of the fitted scale a false alarm
comes about once in 20,000 requests; four misses of the largest size are an event, so a lone timeout is none."""


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
    >>> [watch.add(0.7) for i in range(3)]
    [None, None, None]
    >>> watch.add(0.7) is None
    False
    """

    __slots__ = ("down", "up", "variance", "n")  # noqa: RUF023

    def __init__(self) -> None:
        self.up = [0.0, 0.0, 0.0]  # sum, log misses in it, how many
        self.down = [0.0, 0.0, 0.0]
        self.variance = FIRST_VARIANCE
        self.n = 0

    def add(self, residual: float) -> tuple[float, int] | None:
        """Learn a log residual; return the ratio and the number of outcomes of an event that it completes."""
        self.n += 1
        score = residual / math.sqrt(self.variance)
        weight = (NU + 1.0) / (NU + score * score)
        self.variance += max(0.02, 1.0 / (self.n + 5.0)) * (weight * residual * residual - self.variance)
        self.variance = max(self.variance, 1e-4)
        score = min(max(score, -MOST), MOST)
        for side, signed in ((self.up, score), (self.down, -score)):
            side[0] += signed - SLACK
            if side[0] <= 0.0:
                side[0] = side[1] = side[2] = 0.0
                continue
            side[1] += residual
            side[2] += 1.0
            if side[0] > ALARM:
                event = math.exp(side[1] / side[2]), int(side[2])
                self.up, self.down = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
                return event
        return None

    def to_list(self) -> list[Any]:
        """Plain values for the state file."""
        return [self.n, self.variance, self.up, self.down]

    @classmethod
    def from_list(cls, values: list[Any]) -> Watch:
        """Read what :meth:`to_list` wrote."""
        watch = cls()
        watch.n, watch.variance = int(values[0]), float(values[1])
        watch.up, watch.down = [float(v) for v in values[2]], [float(v) for v in values[3]]
        return watch
