"""Overhead and seconds per token read from sums, as the request calibrator reads them: no part negative, prior kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.calibrate.experts import FIRST_VARIANCE, PRIOR_WEIGHT
from reckoner.calibrate.priors import PRIORS, guess_provider, prior_of
from reckoner.calibrate.sql import Reference, Source, Statistics, count_sql, sample_sql, statistics, text
from reckoner.calibrate.sql_sample import by_model, sums_of
from reckoner.errors import InputError

PASSES = 3  # shape of the prior; first fit with the calibrator's first scatter; the scatter found
SAMPLE = 100_000  # rows that all passes but the last are made on: forecast and scatter are known to 1 % of the scatter
_LEAST = 500  # rows of a model in the sample; with fewer, all passes are made on all of its rows. Assumption
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
    sampled: int = 0

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "models": [model.to_json() for model in self.models],
            "rows": self.rows,
            "refused": self.refused,
            "passes": self.passes,
            "sampled": self.sampled,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A source with another condition on its rows."""

    source: Source
    where: str | None

    @property
    def relation(self) -> str:
        return self.source.relation

    @property
    def expressions(self) -> Mapping[str, str]:
        return self.source.expressions

    def run(self, sql: str) -> Sequence[Sequence[Any]]:
        return self.source.run(sql)


def fit(
    source: Source, *, passes: int = PASSES, sample: int = SAMPLE, done: Callable[[int, int], None] | None = None
) -> Fit:
    """Fit every model of a source.

    One pass weights rows by ``1/f^2`` with the prior's ``f``; later ones use the fit before them and the calibrator's
    Student weights, so that timeouts count little, and the last ends with a Newton step to where ever more passes would
    lead. Only that one needs all rows: what weights it is found on a sample, where the log is long.

    Parameters
    ----------
    passes : int
        How often the rows are summed.
    sample : int
        Rows that all passes but the last are made on, where the log has several times as many; 0 makes every pass on
        the whole log.
    done : callable, optional
        Called after each pass with (passes done, passes in all).

    Raises
    ------
    InputError
        No row can be used.
    """
    if passes < 1 or sample < 0:
        raise InputError(f"passes is {passes} and sample {sample}; at least one pass and no negative sample are needed")
    rows = int(source.run(count_sql(source))[0][0])
    found: dict[str, Statistics] = {}
    reference: dict[str, Reference] = {}
    sampled = 0
    if passes > 1 and 0 < 4 * sample < rows:
        drawn = source.run(sample_sql(source, sample / rows, 4 * sample))
        reference = _references(drawn, passes)
        if done is not None:
            done(passes - 1, passes)
        if reference:
            found, sampled = statistics(source, reference), len(drawn)
            if done is not None:
                done(passes, passes)
    if sum(stats.n for stats in found.values()) < rows:  # models too rare for the sample, or rows that none can use
        rest = _Part(source=source, where=_without(source, found))
        more, its_reference = _summed(partial(statistics, rest), passes, None if found else done)
        found, reference = found | more, reference | its_reference
    if not found:
        raise InputError(
            f"none of {rows} rows can be used: a row needs a model, tokens of at least 0 and a time above 0; "
            "check the mapping (--map)"
        )
    models = tuple(_stepped(found[name], reference.get(name)) for name in sorted(found))
    return Fit(models=models, rows=rows, refused=rows - sum(m.n for m in models), passes=passes, sampled=sampled)


def _summed(
    sums: Callable[[Reference | Mapping[str, Reference]], dict[str, Statistics]],
    passes: int,
    done: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Statistics], dict[str, Reference]]:
    """Sums after as many passes over all rows, and what the last of them was weighted by."""
    local = PRIORS["local"]
    first = Reference(
        overhead_s=local.overhead / 1e3,
        s_per_prompt_token=local.prompt / 1e3,
        s_per_completion_token=local.completion / 1e3,
    )
    found, reference = sums(first), dict[str, Reference]()
    for step in range(1, passes):
        if not found:
            break
        if done is not None:
            done(step, passes)
        reference = {model: _next(stats, first=step == 1) for model, stats in found.items()}
        found = sums(reference)
    if done is not None:
        done(passes, passes)
    return found, reference


def _references(rows: Sequence[Sequence[Any]], passes: int) -> dict[str, Reference]:
    """What the last pass weights by, found on sampled rows, for every model with enough of them."""
    drawn = {name: part for name, part in by_model(rows).items() if part.shape[1] >= _LEAST}
    known, _ = _summed(partial(sums_of, drawn), passes - 1)
    found = {name: _next(stats, first=passes == 2) for name, stats in known.items()}
    return {name: replace(found[name], slope=s.bend / s.wff) for name, s in sums_of(drawn, found).items()}


def _without(source: Source, found: Mapping[str, Statistics]) -> str | None:
    """Condition for the rows of models that are not among those found."""
    if not found:
        return source.where
    others = f"{source.expressions['model']} NOT IN ({', '.join(text(name) for name in sorted(found))})"
    return f"({source.where}) AND {others}" if source.where else others


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


def _stepped(stats: Statistics, reference: Reference | None) -> ModelFit:
    """Fit at the end of endless passes, by one Newton step from the last one's reference.

    A pass moves the answer by a share ``1 - bend / wff`` of what its reference was wrong, for the weights follow the
    reference. Taking that share for the same in all directions is exact where scatter does not depend on size; what is
    left is a few per cent of the reference's own error.
    """
    now = solve(stats)
    if reference is None:
        return now
    slope = min(max(stats.bend / stats.wff if reference.slope is None else reference.slope, 0.5), 2.0)
    was = reference.overhead_s, reference.s_per_prompt_token, reference.s_per_completion_token
    found = now.overhead_s, now.s_per_prompt_token, now.s_per_completion_token
    overhead, prompt, completion = (max(a + (b - a) / slope, 0.0) for a, b in zip(was, found, strict=True))
    return replace(now, overhead_s=overhead, s_per_prompt_token=prompt, s_per_completion_token=completion)


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
