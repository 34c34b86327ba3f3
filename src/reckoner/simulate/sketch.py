"""A mergeable sketch of a distribution: counts by log-linear buckets, with a stated relative error at any size.

Each power of two is cut into 256 equal parts, as the leading bits of a floating-point number do it already, so that a
bucket is a shift of the number's bits: no logarithm, the same on every machine, and merging is addition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reckoner.errors import InputError

PARTS_BITS = 8
SHIFT = 52 - PARTS_BITS  # of the bits of a number, to its bucket
FIRST_S, LAST_S = 2.0**-40, 2.0**24
"""Smallest and largest value told apart: a picosecond and half a year. [s]"""
FIRST = (1023 - 40) << PARTS_BITS
BUCKETS = 64 << PARTS_BITS

RELATIVE_ERROR = 2.0 ** -(PARTS_BITS + 1)
"""Of a quantile between the smallest and the largest value: half a bucket's width, 0.2 %."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sketch:
    """Counts by bucket.

    Parameters
    ----------
    counts : (BUCKETS,) int
        Values of each bucket; those below :data:`FIRST_S`, zero too, are in the first one.

    Examples
    --------
    >>> sketch = Sketch.of(np.linspace(0.001, 1.0, 1000))
    >>> abs(sketch.quantile(0.99) / 0.99 - 1.0) < RELATIVE_ERROR
    True
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BUCKETS, np.int64))

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Sketch:
        """Sketch of values of at least 0, in s."""
        sketch = cls()
        sketch.add(values)
        return sketch

    @property
    def n(self) -> int:
        """Values seen."""
        return int(self.counts.sum())

    def add(self, values: NDArray[np.float64]) -> None:
        """Count values.

        Raises
        ------
        InputError
            One is negative or no number.
        """
        values = np.ascontiguousarray(values, dtype=np.float64)
        if not np.all(values >= 0.0):
            raise InputError(f"a latency is {values[~(values >= 0.0)][0]}; it must be at least 0 s")
        buckets = np.clip((values.view(np.int64) >> SHIFT) - FIRST, 0, BUCKETS - 1)
        self.counts[:] += np.bincount(buckets, minlength=BUCKETS)

    def merge(self, other: Sketch) -> None:
        """Count what another sketch has counted: the order does not matter."""
        self.counts[:] += other.counts

    def quantile(self, q: float) -> float:
        """Smallest value that at least a share ``q`` does not exceed, within :data:`RELATIVE_ERROR`.

        Raises
        ------
        InputError
            Nothing was counted.
        """
        return self.at_rank(max(0, math.ceil(self.n * q - 1e-9) - 1))

    def at_rank(self, rank: int) -> float:
        """Value of a rank, counted from 0."""
        upto = np.cumsum(self.counts)
        if upto[-1] == 0:
            raise InputError("a quantile of nothing is no number; give at least one value")
        bucket = int(np.searchsorted(upto, min(rank, int(upto[-1]) - 1), side="right"))
        return 0.0 if bucket == 0 else _middle(bucket)


def _middle(bucket: int) -> float:
    edges = np.array([bucket + FIRST, bucket + FIRST + 1], np.int64) << SHIFT
    return float(edges.view(np.float64).mean())
