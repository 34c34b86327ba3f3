"""A figure of an audit: a value with its interval and unit, or nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with the ends of its 90 % interval; None is unknown.

    >>> Figure(2.0, 1.0, 3.0, "s").times(10)
    Figure(value=20.0, low=10.0, high=30.0, unit='s')
    """

    value: float | None
    low: float | None
    high: float | None
    unit: str

    def times(self, factor: float) -> Figure:
        """Value and interval, scaled."""
        return self.moved(lambda x: x * factor)

    def moved(self, change: Callable[[float], float]) -> Figure:
        """Value and both ends, each changed in the same way."""
        value, low, high = (None if x is None else change(x) for x in (self.value, self.low, self.high))
        return Figure(value, low, high, self.unit)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is infinite or unknown is null."""
        ends = {"value": self.value, "low": self.low, "high": self.high}
        kept = {k: v if v is not None and math.isfinite(v) else None for k, v in ends.items()}
        return {**kept, "unit": self.unit}


Figures: TypeAlias = Mapping[str, Figure]
"""By name."""
