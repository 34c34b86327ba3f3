"""What latencies are worth: the steady part, intervals that know that neighbours are alike, and when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from reckoner.errors import InputError
from reckoner.measure.events import Floats
from reckoner.quantiles import BATCHES

GROUP = 5  # values that MSER-5 averages before it looks
_LEAST = 4 * GROUP


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean with its interval.

    Parameters
    ----------
    value : float
        The mean.
    low, high : float or None
        90 % interval; None where too few batches tell.
    n, batches : int
        Values, and batches of them whose means were taken for independent.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    batches: int

    @property
    def half_width(self) -> float | None:
        """Half of the interval over the mean; None where there is none."""
        if self.low is None or self.high is None or self.value == 0.0:
            return None
        return (self.high - self.low) / 2.0 / abs(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enough:
    """Whether a run is long enough, and if not, how much more it takes.

    Parameters
    ----------
    reached : bool
        Whether the interval is as narrow as asked for.
    half_width : float or None
        Half of the interval over the mean.
    goal : float
        As asked for.
    more : int or None
        Further requests that would do, by the square-root law; None where nothing can be said.
    """

    reached: bool
    half_width: float | None
    goal: float
    more: int | None

    @property
    def words(self) -> str:
        """Say it in a sentence."""
        if self.half_width is None:
            return "too few requests for an interval; ask for more"
        seen = f"the mean is known to +-{100 * self.half_width:.1f} %"
        if self.reached:
            return f"{seen}, enough for +-{100 * self.goal:g} %"
        return f"{seen}; about {self.more:,} more requests would do for +-{100 * self.goal:g} %"


def steady_from(values: Floats) -> int:
    """Return the place from which a series is steady, by MSER-5.

    The cut that makes the standard error of the mean of what is left least, over means of five; at most half of the
    series is cut, for beyond that a short tail is mistaken for a steady one.

    References
    ----------
    .. [1] K. P. White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69(6),
       1997; in means of five: K. P. White, M. J. Cobb, S. C. Spratt, Proc. Winter Simulation Conference 2000.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> steady_from(np.concatenate([np.linspace(5.0, 1.0, 50), 1.0 + 0.1 * rng.standard_normal(500)])) in range(30, 60)
    True
    """
    groups = len(values) // GROUP
    if groups < _LEAST // GROUP:
        return 0
    means = values[: groups * GROUP].reshape(groups, GROUP).mean(axis=1)
    kept = np.arange(groups, 0, -1, dtype=np.float64)
    # sums from the end, about the overall mean so that no digits are lost
    centred = (means - means.mean())[::-1]
    total, squares = np.cumsum(centred)[::-1], np.cumsum(centred**2)[::-1]
    spread = np.maximum(squares - total**2 / kept, 0.0) / kept**2
    return GROUP * int(np.argmin(spread[: groups // 2 + 1]))


def mean_of(values: Floats, level: float = 0.9) -> Mean:
    """Mean of values in their order of time, with an interval from the means of batches.

    Batches are as many as :data:`~reckoner.quantiles.BATCHES`, and halved until neighbouring ones are no more alike
    than chance makes them (lag-one correlation below 1.645 over the root of their number).

    References
    ----------
    .. [1] B. Schmeiser, "Batch size effects in the analysis of simulation output", Oper. Res. 30(3), 1982.
    .. [2] A. M. Law, "Simulation Modeling and Analysis", 5th ed., McGraw-Hill 2015, sec. 9.5.3.

    Raises
    ------
    InputError
        There are no values.
    """
    n = len(values)
    if n == 0:
        raise InputError("the mean of nothing is no number; give at least one value")
    value = float(values.mean())
    batches = min(BATCHES, n // 2)
    while batches >= 5:
        size = n // batches
        means = values[n - size * batches :].reshape(batches, size).mean(axis=1)
        if batches <= 8 or _alike(means) < 1.645 / math.sqrt(batches):
            reach = student(batches - 1, level) * float(means.std(ddof=1)) / math.sqrt(batches)
            return Mean(value=value, low=value - reach, high=value + reach, n=n, batches=batches)
        batches //= 2
    return Mean(value=value, low=None, high=None, n=n, batches=batches)


def enough(mean: Mean, goal: float) -> Enough:
    """Whether a mean is known well enough.

    Parameters
    ----------
    mean : Mean
        Of the steady part.
    goal : float
        Half width over the mean that is asked for, such as 0.02.
    """
    if not 0.0 < goal < 1.0:
        raise InputError(f"goal is {goal!r}; it must be above 0 and below 1, such as 0.02")
    half = mean.half_width
    if half is None:
        return Enough(reached=False, half_width=None, goal=goal, more=None)
    more = max(0, math.ceil(mean.n * ((half / goal) ** 2 - 1.0)))
    return Enough(reached=half <= goal, half_width=half, goal=goal, more=more)


def student(freedom: int, level: float) -> float:
    """Quantile of Student's t that holds ``level`` in the middle.

    By the expansion of Cornish and Fisher about the normal quantile (Abramowitz, Stegun 1964, 26.7.5), within 0.5 %
    from four degrees of freedom on.

    >>> round(student(9, 0.9), 2), round(student(1000, 0.9), 3)
    (1.83, 1.646)
    """
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    v = float(freedom)
    first = (z**3 + z) / 4.0
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96.0
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384.0
    return z + first / v + second / v**2 + third / v**3


def _alike(means: Floats) -> float:
    """Correlation of neighbours."""
    centred = means - means.mean()
    whole = float(centred @ centred)
    return float(centred[:-1] @ centred[1:]) / whole if whole > 0.0 else 0.0
