"""Quantiles read off a sketch of gaps, with the intervals that the requests behind them allow."""

from __future__ import annotations

import math

from reckoner.errors import InputError
from reckoner.quantiles import Percentile, check, ends, rank
from reckoner.simulate.sketch import RELATIVE_ERROR, Sketch


def gap_percentile(gaps: Sketch, q: float, requests: int, held: float) -> Percentile:
    """Quantile of the gaps between tokens, where ``held`` requests share a step on average."""
    if gaps.n == 0:
        raise InputError(f"P{100 * q:g} of itl is no number: no answer has a second token")
    check(requests, q, "itl")
    return sketched(gaps, q, min(requests / held, float(gaps.n)))


def sketched(sketch: Sketch, q: float, alone: float) -> Percentile:
    """Quantile of a sketch whose values are worth so many independent ones."""
    n = sketch.n
    low, high = ends(n, alone, q)
    return Percentile(
        value=sketch.at_rank(rank(n, q)),
        n=n,
        low=sketch.at_rank(low),
        high=math.inf if high is None else sketch.at_rank(high),
        independent=alone,
        relative_error=RELATIVE_ERROR,
    )
