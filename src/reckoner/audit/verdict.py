"""Verdicts: true, false or unknown, with what they were reached from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from reckoner.errors import InputError

WORDS = {True: "pass", False: "fail", None: "unknown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A promise held against a figure.

    Parameters
    ----------
    name : str
        What was promised, such as "e2e_p99_s".
    tier : str
        Which tier; empty for the whole plan.
    holds : bool or None
        None where it cannot be known, which is never a pass.
    limit, value : float or None
        Promise and figure. A value may be infinite (a queue that grows without end); None is unknown.
    low, high : float or None
        90 % interval of the value, where it has one.
    unit : str
        Of all four.
    at_least : bool
        Whether the limit is a floor, not a ceiling.
    binding : str
        The term that decides, in words.
    fix : str
        What to change, in words; empty where it holds.
    """

    name: str
    tier: str
    holds: bool | None
    limit: float
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    at_least: bool = False
    binding: str = ""
    fix: str = ""

    def __post_init__(self) -> None:
        """Hold that a verdict follows from its figures."""
        figures = (self.limit, self.value, self.low, self.high)
        if any(figure is not None and math.isnan(figure) for figure in figures):
            raise InputError(f"{self.name} of {self.tier or 'the plan'} is not a number")
        if (self.holds is None) != (self.value is None):
            raise InputError(f"{self.name}: a verdict is unknown where its value is, and only there")

    @property
    def word(self) -> str:
        """Verdict in a word: pass, fail or unknown."""
        return WORDS[self.holds]

    @property
    def margin(self) -> float | None:
        """Room left as a share of the limit; negative where it fails, None where unknown."""
        if self.value is None:
            return None
        if self.limit == 0.0:
            return 0.0 if self.value == 0.0 else math.copysign(math.inf, self.value if self.at_least else -self.value)
        ratio = self.value / self.limit
        return ratio - 1.0 if self.at_least else 1.0 - ratio

    @property
    def sure(self) -> bool | None:
        """Whether the whole interval is on the value's side of the limit; None where there is no interval."""
        if self.holds is None or self.low is None or self.high is None:
            return None
        worst = self.low if self.at_least else self.high
        best = self.high if self.at_least else self.low
        edge = worst if self.holds else best
        return (edge >= self.limit if self.at_least else edge <= self.limit) == self.holds

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is infinite or unknown is null."""
        return {
            "name": self.name,
            "tier": self.tier or None,
            "verdict": self.word,
            "limit": self.limit,
            "value": _finite(self.value),
            "low": _finite(self.low),
            "high": _finite(self.high),
            "unit": self.unit,
            "at_least": self.at_least,
            "margin": _finite(self.margin),
            "sure": self.sure,
            "binding": self.binding,
            "fix": self.fix,
        }


def at_most(value: float | None, limit: float) -> bool | None:
    """Whether a value keeps a ceiling; None where it is unknown."""
    return None if value is None else value <= limit


def at_least(value: float | None, limit: float) -> bool | None:
    """Whether a value keeps a floor; None where it is unknown."""
    return None if value is None else value >= limit


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
