"""Quantiles with intervals that do not take requests of one busy period for independent ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reckoner.errors import InputError

Floats = NDArray[np.float64]

_TAIL = 0.05  # of a 90 % interval
BATCHES = 30
"""Batches of consecutive requests whose spread says how alike neighbours are. Assumption: 10 to 30 are advised
(B. Schmeiser, "Batch size effects in the analysis of simulation output", Oper. Res. 30(3), 1982)."""
_CHANCE = 1.47
"""Ratio of variances that 30 batches of independent values exceed once in twenty (chi-squared of 29 over 29)."""
_LEAST_BATCH = 10  # requests of a batch. Assumption.


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """A quantile with its 90 % interval.

    Parameters
    ----------
    value, low, high : float
        Quantile and ends; ``high`` is infinite where the requests do not bound it. [s]
    n : int
        Requests behind it (gaps between tokens, of "itl").
    independent : float
        Independent requests that would tell as much: fewer than ``n`` where neighbours are alike.
    relative_error : float
        Of all three, where they were read off a sketch; else 0.
    """

    value: float
    n: int
    low: float
    high: float
    independent: float
    relative_error: float = 0.0

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON; an end that is not bounded is null."""
        found: dict[str, float | int | None] = {
            "value": self.value,
            "low": self.low,
            "high": self.high if math.isfinite(self.high) else None,
            "n": self.n,
            "independent": self.independent,
        }
        return found | {"relative_error": self.relative_error} if self.relative_error else found


def quantile(values: Floats, q: float) -> float:
    """Smallest value that at least a share ``q`` does not exceed.

    >>> quantile(np.array([4.0, 1.0, 3.0, 2.0]), 0.5)
    2.0
    """
    if len(values) == 0:
        raise InputError(f"P{100 * q:g} of nothing is no number; give at least one value")
    place = rank(len(values), q)
    return float(np.partition(values, place)[place])


def percentile_of(values: Floats, q: float, metric: str = "value", ordered: Floats | None = None) -> Percentile:
    """Quantile of values in their order of time, with its interval of 90 %.

    >>> percentile_of(np.random.default_rng(2).permutation(1000) / 1000, 0.99)
    Percentile(value=0.989, n=1000, low=0.984, high=0.995, independent=1000.0, relative_error=0.0)
    """
    n = len(values)
    check(n, q, metric)
    if ordered is None:
        ordered = np.sort(values)
    value = float(ordered[rank(n, q)])
    alone = independent(values, q, value)
    low, high = ends(n, alone, q)
    return Percentile(
        value=value,
        n=n,
        low=float(ordered[low]),
        high=math.inf if high is None else float(ordered[high]),
        independent=alone,
    )


def check(n: int, q: float, metric: str) -> None:
    """Refuse a quantile that so few requests do not bound.

    Raises
    ------
    InputError
        Says how many it takes.
    """
    if not 0.0 < q < 1.0:
        raise InputError(f"q is {q!r}; it must be above 0 and below 1, such as 0.99")
    if n < needed(q):
        raise InputError(
            f"P{100 * q:g} of {metric} from {n} requests is no number; "
            f"it takes {needed(q)} to bound it, so ask for more"
        )


def needed(q: float) -> int:
    """Independent values whose extremes bound a quantile with 95 % on its far side.

    >>> needed(0.99), needed(0.5)
    (299, 5)
    """
    return math.ceil(math.log(_TAIL) / math.log(max(q, 1.0 - q)))


def independent(values: Floats, q: float, value: float) -> float:
    """Independent values that would tell as much of a quantile as these, by batch means.

    Notes
    -----
    The shares of :data:`BATCHES` batches that do not exceed the quantile vary by ``q (1 - q)`` over the batch's size
    where neighbours are independent. What they vary more is the factor by which fewer values count; likeness that
    reaches beyond a batch is not seen.
    """
    n = len(values)
    batches = min(BATCHES, n // _LEAST_BATCH)
    if batches < 2:
        return float(n)
    size = n // batches
    shares = (values[: size * batches] <= value).reshape(batches, size).mean(axis=1)
    return shrunk(n, float(shares.var(ddof=1)), q, size)


def shrunk(n: int, variance: float, q: float, size: int) -> float:
    """So many values, less the factor by which the shares of batches vary too much."""
    ratio = variance * size / (q * (1.0 - q))
    return n / ratio if ratio > _CHANCE else float(n)


def rank(n: int, q: float) -> int:
    """Place, from 0, of a quantile among so many ordered values."""
    return min(n - 1, max(0, math.ceil(n * q - 1e-9) - 1))


def ends(n: int, alone: float, q: float) -> tuple[int, int | None]:
    """Places, of ``n`` ordered values worth so many independent ones, that hold the quantile with 90 %.

    The number of values below a quantile is binomial; the upper place is None where even the largest does not bound it.
    """
    m = max(2, int(alone))
    low, high = _binomial(m, q)
    first = min(int(low / m * n), rank(n, q))
    if q > 0.5 and m < needed(q):
        return first, None
    return first, max(min(math.ceil((high + 1) / m * n - 1e-9) - 1, n - 1), rank(n, q))


def _binomial(n: int, q: float) -> tuple[int, int]:
    mean, sd = n * q, math.sqrt(n * q * (1.0 - q))
    reach = int(10.0 * sd) + 10
    first, last = max(0, int(mean) - reach), min(n, int(mean) + reach)
    counts = np.arange(first, last + 1)
    steps = np.log((n - counts[:-1]) / (counts[:-1] + 1.0)) + math.log(q / (1.0 - q))
    log_p = np.concatenate([[0.0], np.cumsum(steps)])
    p = np.exp(log_p - log_p.max())
    below = np.cumsum(p / p.sum())  # P(X <= count)
    # Order statistic k (from 1) lies at or above the quantile unless fewer than k values do: P(X >= k) small enough.
    low = int(counts[np.searchsorted(below, _TAIL, side="right")]) - 1
    high = int(counts[np.searchsorted(below, 1.0 - _TAIL, side="left")])
    return max(low, 0), min(high, n - 1)
