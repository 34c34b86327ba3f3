"""What a request is expected to take."""

from __future__ import annotations

import math


class CostPrediction:
    """What a request is expected to take.

    Attributes
    ----------
    model : str
        As asked.
    prompt_tokens : int
        As asked.
    predicted_ms : float
        Expected time. [ms]
    low_ms, high_ms : float
        Interval that holds the actual time with probability ``level``. [ms]
    level : float
        Probability of the interval.
    confidence : float
        From 0 (prior only) towards 1: ``1 - exp(-sample_count / 10)``. It counts, it does not judge; the interval does.
    sample_count : int
        Outcomes learned from.
    in_flight : float
        Requests of this model that were under way.
    predicted_at : float
        When. [s since 1970]
    """

    __slots__ = (
        "_ends", "in_flight", "level", "model", "predicted_at", "predicted_ms", "prompt_tokens", "sample_count",
    )  # fmt: skip

    model: str
    prompt_tokens: int
    predicted_ms: float
    level: float
    sample_count: int
    in_flight: float
    predicted_at: float
    _ends: tuple[float, float]  # logarithms: most callers never ask

    @property
    def low_ms(self) -> float:
        """Lower end of the interval, in milliseconds."""
        return min(math.exp(self._ends[0]), self.predicted_ms)

    @property
    def high_ms(self) -> float:
        """Upper end of the interval, in milliseconds."""
        return max(math.exp(self._ends[1]), self.predicted_ms)

    @property
    def confidence(self) -> float:
        """``1 - exp(-sample_count / 10)``."""
        return 1.0 - math.exp(-self.sample_count / 10.0)

    def __repr__(self) -> str:
        return (
            f"CostPrediction(model={self.model!r}, prompt_tokens={self.prompt_tokens}, "
            f"predicted_ms={self.predicted_ms:.0f}, low_ms={self.low_ms:.0f}, high_ms={self.high_ms:.0f}, "
            f"confidence={self.confidence:.2f}, n={self.sample_count})"
        )
