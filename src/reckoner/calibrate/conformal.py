"""Intervals that learn their own width: quantiles of past log residuals, steered towards the coverage asked for."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from statistics import NormalDist
from typing import Any

WINDOW = 200
"""Residuals remembered. Chosen on the replayed streams: 60 covers less, 400 no better."""

PSEUDO = tuple(round(NormalDist(0.0, 0.6).inv_cdf((i + 0.5) / 12), 6) for i in range(12))
"""Residuals assumed before any is seen: a normal law of log standard deviation 0.6 (assumption: a factor of 2.7)."""

GAMMA = 0.01
"""Step of adaptive conformal inference, per tail. I. Gibbs & E. Candes, NeurIPS 2021. arXiv:2106.00193"""

TAIL = 0.05
"""Share of outcomes that should fall beyond each end of a 90 % interval."""

LEAST_TAIL, MOST_TAIL = 0.0005, 0.3
"""Bounds on the steered tails: a long calm must not close the interval, a long storm not open it for good."""

BEYOND = 0.3
"""Log distance past the largest residual seen when even that has not been wide enough. Assumption."""

STEP = 0.03
"""Step of the centre's descent on the relative error, in usual misses. Chosen on the replayed streams."""


LEAST_CENTRE, MOST_CENTRE = -1.5, 0.2
"""Log distances that the centre may stand from the mixture. Assumption."""

MOST = WINDOW + len(PSEUDO)

FADE = 30
"""Outcomes after which the assumed residuals leave, one with each. Chosen on the replayed streams: kept for longer, the
intervals of API streams hold 95 % instead of 92 %."""


class Window:
    """Recent log residuals of one kind of request, their two tails and their centre.

    The centre is where the expected relative error ``|forecast - actual| / actual`` is least. It lies below the median
    where residuals scatter widely, for an overestimate can cost any multiple and an underestimate at most one.

    Examples
    --------
    >>> window = Window()
    >>> for _ in range(300):
    ...     window.add(0.1, *window.ends)
    >>> window.quantile(0.5)
    0.1
    """

    __slots__ = ("_queue", "_sorted", "below", "above", "centre", "count", "ends", "scatter")  # noqa: RUF023

    def __init__(self, residuals: Iterable[float] = PSEUDO, centre: float = 0.0) -> None:
        self._queue: deque[float] = deque(residuals)
        self._sorted = sorted(self._queue)
        self.below = self.above = TAIL
        self.centre = centre
        self.scatter = 0.5
        self.count = 0
        self.ends = self.interval(2.0 * TAIL)

    def quantile(self, share: float) -> float:
        """Residual that a ``share`` of outcomes stays below."""
        n = len(self._sorted)
        rank = share * (n + 1) - 1.0
        if rank <= 0.0:
            return self._sorted[0]
        if rank >= n - 1:
            return self._sorted[-1]
        i = int(rank)
        low = self._sorted[i]
        return low + (rank - i) * (self._sorted[i + 1] - low)

    def interval(self, outside: float) -> tuple[float, float]:
        """Ends that leave a share ``outside`` of outcomes out, both tails together."""
        scale = outside / (2.0 * TAIL)
        below, above = min(self.below * scale, 0.5), min(self.above * scale, 0.5)
        low, high = self.quantile(below), self.quantile(1.0 - above)
        return (low - BEYOND if below < 0.002 else low), (high + BEYOND if above < 0.002 else high)

    def add(self, residual: float, low: float, high: float) -> None:
        """Learn one residual, whose 90 % interval had been ``low`` to ``high``."""
        self.count = count = self.count + 1
        below = self.below + (GAMMA * (TAIL - 1.0) if residual < low else GAMMA * TAIL)
        above = self.above + (GAMMA * (TAIL - 1.0) if residual > high else GAMMA * TAIL)
        self.below = LEAST_TAIL if below < LEAST_TAIL else MOST_TAIL if below > MOST_TAIL else below
        self.above = LEAST_TAIL if above < LEAST_TAIL else MOST_TAIL if above > MOST_TAIL else above
        self._descend(residual, count)
        queue, ordered = self._queue, self._sorted
        if len(queue) >= MOST or FADE < count <= FADE + len(PSEUDO):
            del ordered[bisect_left(ordered, queue.popleft())]
        queue.append(residual)
        insort(ordered, residual)
        self.ends = self.usual()

    def usual(self) -> tuple[float, float]:
        """Ends of the 90 % interval: :meth:`interval`, written out for the hot path."""
        ordered, below, above = self._sorted, self.below, self.above
        last = len(ordered) - 1
        rank = below * (last + 2) - 1.0
        if rank <= 0.0:
            low = ordered[0]
        else:  # no tail exceeds MOST_TAIL, so there is a next one
            i = int(rank)
            low = ordered[i]
            low += (rank - i) * (ordered[i + 1] - low)
        rank = (1.0 - above) * (last + 2) - 1.0
        if rank >= last:
            high = ordered[last]
        else:
            i = int(rank)
            high = ordered[i]
            high += (rank - i) * (ordered[i + 1] - high)
        return low - BEYOND if below < 0.002 else low, high + BEYOND if above < 0.002 else high

    def _descend(self, residual: float, count: int) -> None:
        """Move the centre a step down the slope of ``|exp(centre - residual) - 1|``."""
        miss = residual if residual > 0.0 else -residual
        rate = 0.05 if count > 18 else 1.0 / (count + 2.0)
        self.scatter = scatter = self.scatter + rate * ((miss if miss < 2.0 else 2.0) - self.scatter)
        excess = self.centre - residual
        slope = math.exp(excess if excess < 1.0 else 1.0)  # held, so that one outlier moves little
        centre = self.centre - STEP * scatter * (slope if excess > 0.0 else -slope)
        self.centre = LEAST_CENTRE if centre < LEAST_CENTRE else MOST_CENTRE if centre > MOST_CENTRE else centre

    def twelve(self) -> list[float]:
        """Twelve residuals that stand for this window; a new one begins with them."""
        return [self.quantile((i + 0.5) / len(PSEUDO)) for i in range(len(PSEUDO))]

    def absorb(self, other: Window) -> None:
        """Take in another window's residuals: what both saw, thinned evenly to what one remembers."""
        if other.count == 0:
            return
        seen = self.count + other.count
        share = other.count / seen
        self.below += share * (other.below - self.below)
        self.above += share * (other.above - self.above)
        self.centre += share * (other.centre - self.centre)
        self.scatter += share * (other.scatter - self.scatter)
        seen_here = [*self._seen(), *other._seen()]
        both = sorted([*PSEUDO, *seen_here] if len(seen_here) < WINDOW else seen_here)
        if len(both) > MOST:
            both = [both[int((i + 0.5) * len(both) / MOST)] for i in range(MOST)]
        # Sorted residuals in order of time would drop the least first: interleave them.
        self._queue = deque(both[i] for start in range(7) for i in range(start, len(both), 7))
        self._sorted = both
        self.count = seen
        self.ends = self.interval(2.0 * TAIL)

    def _seen(self) -> list[float]:
        """Residuals of outcomes, without those assumed at the start."""
        return list(self._queue)[max(len(self._queue) - self.count, 0) :]

    def to_list(self) -> list[Any]:
        """Plain values for the state file."""
        return [self.count, self.below, self.above, self.centre, self.scatter, list(self._queue)]

    @classmethod
    def from_list(cls, values: list[Any]) -> Window:
        """Read what :meth:`to_list` wrote."""
        count, below, above, centre, scatter, residuals = values
        window = cls([float(r) for r in residuals], float(centre))
        window.count, window.below, window.above = int(count), float(below), float(above)
        window.scatter = float(scatter)
        window.ends = window.interval(2.0 * TAIL)
        return window
