"""Laws fitted to cost curves: polynomials in context length, their intervals, their extrapolation, the crossover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reckoner.errors import InputError
from reckoner.measure.protocol import Summary

LEVEL = 0.95

CrossoverReason = Literal["crosses", "cache faster everywhere", "no gain at the longest S"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """One coefficient with its interval; both ends are None when no points are left over to judge the fit."""

    name: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extrapolation:
    """A law held against a measurement that it was not fitted to; the error is predicted / measured - 1."""

    s: int
    measured: float
    predicted: float
    relative_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """A polynomial in S fitted to the lower points and tried on the higher ones.

    Attributes
    ----------
    coefficients : tuple of Coefficient
        From the constant upwards, in the unit of the measurements per token to that power.
    fitted_s : tuple of int
        Context lengths that the fit has seen. [token]
    r2 : float or None
        Coefficient of determination on those; None when they do not vary. It tests the protocol, not the physics.
    extrapolations : tuple of Extrapolation
        One for each higher point.
    """

    coefficients: tuple[Coefficient, ...]
    fitted_s: tuple[int, ...]
    r2: float | None
    extrapolations: tuple[Extrapolation, ...]

    def predict(self, s: float) -> float:
        """Value of the law at context ``s``."""
        return float(sum(c.value * s**power for power, c in enumerate(self.coefficients)))

    @property
    def max_extrapolation_error(self) -> float | None:
        """Largest relative error on points that the fit has not seen; None when there are none."""
        return max((abs(e.relative_error) for e in self.extrapolations), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossover:
    """Where the cache begins to pay off.

    Attributes
    ----------
    s : float or None
        Context from which the cached step is the faster one; None when there is no such place. [token]
    reason : str
        ``crosses``, or why there is no crossover in the range measured.
    overlapping_s : tuple of int
        Contexts at which the two intervals overlap: there the order of the medians proves nothing. [token]
    too_few_s : tuple of int
        Contexts at which one mode has too few samples for an interval. [token]
    """

    s: float | None
    reason: CrossoverReason
    overlapping_s: tuple[int, ...]
    too_few_s: tuple[int, ...]


def fit_law(s: Sequence[int], values: Sequence[float], names: Sequence[str], *, fit_up_to: int) -> Law:
    r"""Fit :math:`y = \sum_k c_k S^k` to the points up to ``fit_up_to``, least squares in relative error.

    Minimises :math:`\sum_i ((y_i - \hat y_i) / y_i)^2`: timings scatter in proportion to their size. The intervals are
    95%, from the residuals' variance and Student's t with n - p degrees of freedom [1]_; they tell misfit and noise
    together.

    Parameters
    ----------
    s : (n,) int
        Context lengths. [token]
    values : (n,) float
        Measurements, above 0.
    names : sequence of str
        One name a coefficient, from the constant upwards: two fit a line, three a parabola.
    fit_up_to : int
        Largest context that the fit may see. [token]

    Raises
    ------
    InputError
        Fewer points than coefficients up to ``fit_up_to``, or a value that is not above 0.

    References
    ----------
    .. [1] N. R. Draper, H. Smith, "Applied Regression Analysis", 3rd ed., 1998, sec. 1.4 and 9.2 (weights).

    Examples
    --------
    >>> law = fit_law([8, 16, 32, 64], [2.8, 3.6, 5.2, 8.4], ["alpha", "beta"], fit_up_to=32)
    >>> [round(c.value, 6) for c in law.coefficients], round(law.extrapolations[0].relative_error, 6)
    ([2.0, 0.1], 0.0)
    """
    for length, value in zip(s, values, strict=True):
        if not value > 0 or not math.isfinite(value):
            raise InputError(f"the measurement at S={length} is {value}; a fit in relative error needs values above 0")
    low = [(length, value) for length, value in zip(s, values, strict=True) if length <= fit_up_to]
    if len(low) < len(names):
        raise InputError(
            f"{len(low)} points lie at S <= {fit_up_to}; a law with {len(names)} coefficients needs as many, "
            "measure more or raise fit_up_to"
        )
    x, y = np.array([point[0] for point in low], float), np.array([point[1] for point in low])
    scale = x.max()  # powers of S / scale stay near 1, so that the normal matrix is well conditioned
    powers = np.arange(len(names))
    design = (x[:, None] / scale) ** powers / y[:, None]
    solution, *_ = np.linalg.lstsq(design, np.ones(len(y)), rcond=None)
    half = _half_widths(design, solution)
    unit = scale**-powers
    coefficients = tuple(
        Coefficient(
            name=name,
            value=float(solution[k] * unit[k]),
            low=None if half is None else float((solution[k] - half[k]) * unit[k]),
            high=None if half is None else float((solution[k] + half[k]) * unit[k]),
        )
        for k, name in enumerate(names)
    )
    law = Law(coefficients=coefficients, fitted_s=tuple(point[0] for point in low), r2=None, extrapolations=())
    residual = y - [law.predict(length) for length in x]
    total = float(((y - y.mean()) ** 2).sum())
    return Law(
        coefficients=coefficients,
        fitted_s=law.fitted_s,
        r2=None if total == 0 else 1.0 - float(residual @ residual) / total,
        extrapolations=tuple(
            Extrapolation(
                s=length,
                measured=value,
                predicted=law.predict(length),
                relative_error=law.predict(length) / value - 1.0,
            )
            for length, value in zip(s, values, strict=True)
            if length > fit_up_to
        ),
    )


def find_crossover(s: Sequence[int], cached: Sequence[Summary], uncached: Sequence[Summary]) -> Crossover:
    """Find the context from which on the cached step is faster, by the medians.

    Between two measured contexts the difference is taken as linear in log S. Where the order changes more than once the
    last change counts: from there on the cache pays off.
    """
    if not s:
        raise InputError("no context was measured; a crossover needs at least one")
    gain = [without.median - having.median for having, without in zip(cached, uncached, strict=True)]
    overlapping, too_few = [], []
    for length, having, without in zip(s, cached, uncached, strict=True):
        if having.low is None or having.high is None or without.low is None or without.high is None:
            too_few.append(length)
        elif having.low <= without.high and without.low <= having.high:
            overlapping.append(length)
    place: float | None = None
    reason: CrossoverReason
    losing = [index for index, value in enumerate(gain) if value <= 0]
    if not losing:
        reason = "cache faster everywhere"
    elif losing[-1] == len(s) - 1:
        reason = "no gain at the longest S"
    else:
        reason, left = "crosses", losing[-1]
        share = -gain[left] / (gain[left + 1] - gain[left])
        place = s[left] * (s[left + 1] / s[left]) ** share
    return Crossover(s=place, reason=reason, overlapping_s=tuple(overlapping), too_few_s=tuple(too_few))


def student_t(level: float, dof: int) -> float:
    """Two-sided quantile of Student's t: P(|T| <= t) = ``level``.

    The distribution function is a finite sum for whole degrees of freedom (Abramowitz and Stegun, 1964, 26.7.3-4); the
    quantile is found by bisection.

    >>> [round(student_t(0.95, dof), 3) for dof in (1, 2, 3, 4, 30)]
    [12.706, 4.303, 3.182, 2.776, 2.042]
    """
    if not 0 < level < 1 or dof < 1:
        raise InputError(f"level is {level} and dof {dof}; a quantile needs a level in (0, 1) and dof of at least 1")
    low, high = 0.0, 1.0
    while _t_inside(high, dof) < level:
        high *= 2.0
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _t_inside(middle, dof) < level else (low, middle)
    return (low + high) / 2.0


def _t_inside(t: float, dof: int) -> float:
    angle = math.atan(t / math.sqrt(dof))
    cosine_squared = math.cos(angle) ** 2
    term = math.cos(angle) if dof % 2 else 1.0
    total = 0.0
    for k in range(dof % 2, dof - 1, 2):
        total += term
        term *= cosine_squared * (k + 1) / (k + 2)
    if dof % 2:
        return 2.0 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def _half_widths(design: NDArray[np.float64], solution: NDArray[np.float64]) -> NDArray[np.float64] | None:
    dof = len(design) - len(solution)
    if dof < 1:
        return None
    residual = 1.0 - design @ solution
    covariance = np.linalg.inv(design.T @ design) * (residual @ residual / dof)
    half: NDArray[np.float64] = student_t(LEVEL, dof) * np.sqrt(np.diag(covariance))
    return half
