"""Overhead and seconds per token read from sums, as the request calibrator reads them: no part negative, prior kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.calibrate.experts import FIRST_VARIANCE, PRIOR_WEIGHT
from reckoner.calibrate.priors import PRIORS, guess_provider, prior_of
from reckoner.calibrate.sql import Reference, Source, Statistics, count_sql, statistics
from reckoner.errors import InputError

PASSES = 3  # shape of the prior; first fit with the calibrator's first scatter; the scatter found
_FLOOR_S = 1e-6  # least forecast, as the calibrator's of 1e-3 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFit:
    """What one model's requests cost.

    Attributes
    ----------
    overhead_s, s_per_prompt_token, s_per_completion_token : float
        Coefficients. [s]
    stderr : tuple of float
        Their standard errors, for independent requests. [s]
    scatter : float
        Robust standard deviation of ``ln(y / f)``.
    mean_ratio : float
        Mean of ``y / f``: multiply by it when forecasts are summed, for a median forecast sums up too low.
    """

    model: str
    n: int
    overhead_s: float
    s_per_prompt_token: float
    s_per_completion_token: float
    stderr: tuple[float, float, float]
    scatter: float
    mean_ratio: float

    def forecast(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Median time of a request. [s].

        >>> fit = ModelFit(model="m", n=1, overhead_s=0.1, s_per_prompt_token=1e-4, s_per_completion_token=0.01,
        ...                stderr=(0, 0, 0), scatter=0.1, mean_ratio=1.0)
        >>> fit.forecast(1000, 100)
        1.2
        """
        return (
            self.overhead_s + self.s_per_prompt_token * prompt_tokens + self.s_per_completion_token * completion_tokens
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {part: getattr(self, part) for part in self.__slots__} | {"stderr": list(self.stderr)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Fits of all models in a source."""

    models: tuple[ModelFit, ...]
    rows: int
    refused: int
    passes: int

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "models": [model.to_json() for model in self.models],
            "rows": self.rows,
            "refused": self.refused,
            "passes": self.passes,
        }


def fit(source: Source, *, passes: int = PASSES, done: Callable[[int, int], None] | None = None) -> Fit:
    """Fit every model of a source.

    Parameters
    ----------
    passes : int
        How often the source is summed. One pass weights rows by ``1/f^2`` with the prior's ``f``; later ones use the
        fit before them and the calibrator's Student weights, so that timeouts count little.
    done : callable, optional
        Called after each pass with (passes done, passes in all).

    Raises
    ------
    InputError
        No row can be used.
    """
    if passes < 1:
        raise InputError(f"passes is {passes}; at least one is needed")
    local = PRIORS["local"]
    reference: Reference | Mapping[str, Reference] = Reference(
        overhead_s=local.overhead / 1e3,
        s_per_prompt_token=local.prompt / 1e3,
        s_per_completion_token=local.completion / 1e3,
    )
    found: dict[str, Statistics] = {}
    for step in range(passes):
        found = statistics(source, reference)
        if not found:
            rows = int(source.run(count_sql(source))[0][0])
            raise InputError(
                f"none of {rows} rows can be used: a row needs a model, tokens of at least 0 and a time above 0; "
                "check the mapping (--map)"
            )
        if done is not None:
            done(step + 1, passes)
        if step + 1 < passes:
            reference = {model: _next(found[model], first=step == 0) for model in found}
    models = tuple(solve(found[model]) for model in sorted(found))
    rows = int(source.run(count_sql(source))[0][0])
    return Fit(models=models, rows=rows, refused=rows - sum(model.n for model in models), passes=passes)


def _next(stats: Statistics, *, first: bool) -> Reference:
    """Forecast for the next pass: this pass's fit; its scatter is known once the forecast is no longer the prior."""
    now = solve(stats)
    return Reference(
        overhead_s=max(now.overhead_s, _FLOOR_S),
        s_per_prompt_token=now.s_per_prompt_token,
        s_per_completion_token=now.s_per_completion_token,
        variance=FIRST_VARIANCE if first else max(stats.urr / stats.n, 1e-6),
        prompt_0=stats.mean_p,
        completion_0=stats.mean_c,
    )


def solve(stats: Statistics) -> ModelFit:
    """Coefficients from sums: weighted least squares without negative parts, drawn to the prior where data are silent.

    Notes
    -----
    The sums are turned into the triangular factor of the weighted design first, and never into sums of squares about
    zero: the condition number enters once and not squared.
    """
    prior = prior_of(guess_provider(stats.model))
    scale = np.array([prior.overhead, prior.prompt, prior.completion]) / 1e3
    design, target = _factor(stats)
    weak = math.sqrt(PRIOR_WEIGHT) * np.eye(3)
    rows = np.vstack([design * scale, weak])
    values = np.concatenate([target, weak @ np.ones(3)])
    theta = scale * _nnls(rows, values)
    covariance = np.linalg.inv(rows.T @ rows).astype(np.float64)
    error = stats.wyy - float(target @ target) + float(np.sum((design @ theta - target) ** 2))
    variance = float(max(error, 0.0)) / max(stats.n - 3, 1)
    stderr = scale * np.sqrt(variance * np.diag(covariance))
    return ModelFit(
        model=stats.model,
        n=stats.n,
        overhead_s=float(theta[0]),
        s_per_prompt_token=float(theta[1]),
        s_per_completion_token=float(theta[2]),
        stderr=(float(stderr[0]), float(stderr[1]), float(stderr[2])),
        scatter=math.sqrt(stats.urr / stats.n),
        mean_ratio=stats.ratio / stats.n,
    )


def _factor(s: Statistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Three rows ``R`` and values ``z`` with ``|R theta - z|^2`` equal to the weighted squares less a constant."""
    p, c, y = s.wp / s.w, s.wc / s.w, s.wy / s.w
    spread = np.array([[s.wpp - s.wp * p, s.wpc - s.wp * c], [s.wpc - s.wp * c, s.wcc - s.wc * c]])
    slope = np.array([s.wpy - s.wp * y, s.wcy - s.wc * y])
    unit = np.sqrt(np.maximum(np.diag(spread), 1e-300))
    values, vectors = np.linalg.eigh(spread / np.outer(unit, unit))
    root = np.sqrt(np.maximum(values, 0.0))
    # a direction in which all requests are alike carries rounding only
    kept = root > 1e-7 * max(float(root.max()), 1e-300)
    lower = np.where(kept, root, 0.0)[:, None] * vectors.T * unit
    right = np.divide(vectors.T @ (slope / unit), root, out=np.zeros(2), where=kept)
    first = math.sqrt(s.w)
    design = np.zeros((3, 3))
    design[0] = first, first * (s.mean_p + p), first * (s.mean_c + c)
    design[1:, 1:] = lower
    return design, np.concatenate([[first * y], right])


def _nnls(rows: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares with no part below zero: all eight faces tried, the best kept."""
    best, answer = math.inf, np.zeros(3)
    for count in range(4):
        for free in combinations(range(3), count):
            x = np.zeros(3)
            if free:
                x[list(free)] = np.linalg.lstsq(rows[:, free], values, rcond=None)[0]
            error = float(np.sum((rows @ x - values) ** 2))
            if (x >= 0).all() and error < best:
                best, answer = error, x
    return answer
