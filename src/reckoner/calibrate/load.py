"""What an engine says about itself (waiting, running, cache use), as a correction learned on top of the forecast."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from reckoner.calibrate import checks
from reckoner.calibrate.solve import solve3

DECAY = 0.995
"""Memory per request: a half-life of 138. Assumption."""

RIDGE = 1.0
"""Evidence, in requests of unit spread, that a figure says nothing. Assumption."""

MOST_MISS = 1.5
"""Most that one log miss counts. Assumption: a factor of 4.5."""


class Load(NamedTuple):
    """State of the engine when a request begins; leave what is unknown at 0, always or never.

    Parameters
    ----------
    waiting, running : float
        Requests queued, and requests in the batch (vLLM: ``num_requests_waiting``, ``num_requests_running``).
    kv_use : float
        Share of the KV cache in use, 0 to 1 (vLLM: ``gpu_cache_usage_perc``).
    """

    waiting: float = 0.0
    running: float = 0.0
    kv_use: float = 0.0

    def checked(self) -> Load:
        """Return the same with floats.

        Raises
        ------
        InputError
            A figure is no number, not finite, negative or absurd; the message names it.
        """
        return Load(
            checks.number("waiting", self.waiting, 1e6, "requests"),
            checks.number("running", self.running, 1e6, "requests"),
            checks.number("kv_use", self.kv_use, 1.0, "the share of the cache in use"),
        )


class Correction:
    """Decayed ridge regression of the log miss on the load, around the usual load.

    Examples
    --------
    >>> correction = Correction()
    >>> for i in range(300):
    ...     kv_use = (i % 10) / 10
    ...     correction.learn(Load(kv_use=kv_use), 0.5 * kv_use)
    >>> round(correction.shift(Load(kv_use=0.9)) - correction.shift(Load(kv_use=0.1)), 2)
    0.4
    """

    __slots__ = ("answer", "left", "mean", "right", "weight")

    def __init__(self) -> None:
        self.left = [0.0] * 6
        self.right = [0.0] * 3
        self.answer = (0.0, 0.0, 0.0)
        self.mean = [0.0] * 3
        self.weight = 0.0

    def _around(self, load: Load) -> tuple[float, float, float]:
        mean = self.mean
        return math.log1p(load.waiting) - mean[0], math.log1p(load.running) - mean[1], load.kv_use - mean[2]

    def shift(self, load: Load) -> float:
        """Log factor on the forecast."""
        a, b, c = self.answer
        x, y, z = self._around(load)
        return min(max(a * x + b * y + c * z, -3.0), 3.0)

    def learn(self, load: Load, miss: float) -> None:
        """Take in the log miss of a forecast without correction."""
        self.weight = DECAY * self.weight + 1.0
        x, y, z = self._around(load)
        self.mean = [m + d / self.weight for m, d in zip(self.mean, (x, y, z), strict=True)]
        x, y, z = self._around(load)
        held = min(max(miss, -MOST_MISS), MOST_MISS)
        new = (x * x, x * y, x * z, y * y, y * z, z * z)
        self.left = [DECAY * old + add for old, add in zip(self.left, new, strict=True)]
        self.right = [DECAY * old + held * d for old, d in zip(self.right, (x, y, z), strict=True)]
        self._read_out()

    def _read_out(self) -> None:
        a, (r0, r1, r2) = self.left, self.right
        self.answer = solve3(a[0] + RIDGE, a[1], a[2], a[3] + RIDGE, a[4], a[5] + RIDGE, r0, r1, r2)

    def absorb(self, other: Correction) -> None:
        """Add what another correction learned."""
        total = self.weight + other.weight
        if total:
            pairs = zip(self.mean, other.mean, strict=True)
            self.mean = [(self.weight * a + other.weight * b) / total for a, b in pairs]
        self.left = [a + b for a, b in zip(self.left, other.left, strict=True)]
        self.right = [a + b for a, b in zip(self.right, other.right, strict=True)]
        self.weight = total
        self._read_out()

    def to_list(self) -> list[Any]:
        """Plain values for the state file."""
        return [self.weight, self.mean, self.left, self.right]

    @classmethod
    def from_list(cls, values: list[Any]) -> Correction:
        """Read what :meth:`to_list` wrote."""
        correction = cls()
        correction.weight = float(values[0])
        correction.mean, correction.left, correction.right = ([float(v) for v in part] for part in values[1:4])
        correction._read_out()
        return correction
