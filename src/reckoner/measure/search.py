"""The largest rate that an endpoint carries within its promises, by bisection on measured runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from reckoner.errors import InputError

MOST_RUNS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A rate between one that was carried and one that was not.

    Parameters
    ----------
    low, high : float
        Largest rate that was carried, and smallest that was not; ``high`` is infinite where every rate was. [1/s]
    tried : tuple of (float, bool or None)
        Every rate, in the order in which it was measured; None where it could not be told.
    """

    low: float
    high: float
    tried: tuple[tuple[float, bool | None], ...]

    @property
    def value(self) -> float:
        """Geometric middle of both; the lower one where no rate was too much. [1/s]."""
        return self.low if math.isinf(self.high) else math.sqrt(self.low * self.high)


def carried(
    passes: Callable[[float], bool | None], first: float, *, close: float = 1.05, most: float = math.inf
) -> Carried:
    """Search the largest rate that passes.

    Parameters
    ----------
    passes : callable
        Measures a rate and says whether every promise was kept; None where the run cannot tell, because the limit lies
        inside its interval. Between two rates that were told apart the search ends there: the answer is the bracket.
    first : float
        Rate to begin with. [1/s]
    close : float
        Ratio of the ends at which the search stops.
    most : float
        Rate beyond which nothing is tried. [1/s]

    Raises
    ------
    InputError
        A number is out of range, or the smallest rate tried is too much already.

    Examples
    --------
    >>> found = carried(lambda rate: rate <= 7.3, 2.0)
    >>> found.low <= 7.3 <= found.high, found.high / found.low < 1.05
    (True, True)
    """
    if not 0.0 < first < math.inf or not 1.0 < close < math.inf:
        raise InputError(f"first is {first!r} and close {close!r}; above 0, and above 1")
    tried: list[tuple[float, bool | None]] = []
    low, high = 0.0, math.inf
    rate = min(first, most)
    while len(tried) < MOST_RUNS:
        good = passes(rate)
        tried.append((rate, good))
        if good:
            low = rate
            if rate >= most:
                break
        elif good is False:
            high = rate
        elif low and math.isfinite(high):
            break
        if low and math.isfinite(high):
            if high / low <= close:
                break
            rate = math.sqrt(low * high)
        elif low:
            if rate >= most:
                break
            rate = min(2.0 * rate, most)
        else:
            rate /= 2.0
            if rate < first / 1024.0:
                raise InputError(
                    f"not even {2.0 * rate:.3g} requests/s keep the promises; loosen them, or look at one request"
                )
    return Carried(low=low, high=high, tried=tuple(tried))
