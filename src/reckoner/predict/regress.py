"""Penalised robust regression of the effects: Gauss-Newton in log space, shrinkage learned from spread."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reckoner.predict import effects
from reckoner.predict.quantities import EFFECTS, Basis, basis, log_quantity
from reckoner.predict.rows import Column, Rows

DEGREES = 4.0  # of the Student-t that keeps wrong rows from steering; assumption
SCALE = 0.15  # its scale: how far a good row strays; assumption, near the fitted one
SHARED = 0.3  # correlation of rows of one cell; assumption: a cell of many rows counts as about three
SD_CONSTANT, SD_SLOPE, SD_LEVEL = 1.5, 0.3, 0.25  # first guesses of how far constants, slopes and levels lie from 0
SD_ANCHORED = {
    "weights": 0.3,
    "kv": 0.5,
    "decode_flops": 0.5,
    "prefill_flops": 0.7,
    "served_flops": 0.7,
    "layers": 0.5,
    "burst": 0.5,
}
"""Constants held near their nominal sizes: a share of the bandwidth and a cost per layer trade against each other, and
only the sum is measured. Assumption."""
SD_RANGE = (0.01, 1.0)
_NUDGE = 1e-3
_LONGEST_STEP = 1.5
_CLOSE_ENOUGH = 0.02


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows with measurements, laid out for fitting."""

    rows: Rows
    base: Basis
    words: effects.Vocabulary
    laid: list[effects.Part]
    weight: Column


@dataclass(frozen=True, slots=True)
class Fit:
    """Coefficients, the precision of their prior, and their posterior variance."""

    coefficients: NDArray[np.float64]
    precision: NDArray[np.float64]
    variance: NDArray[np.float64]


def problem(rows: Rows, words: effects.Vocabulary | None = None) -> Problem:
    """Lay rows out; rows of one cell (source, kind, model, device, engine, format) share their weight."""
    base = basis(rows)
    words = effects.vocabulary(rows, base) if words is None else words
    cell = ["|".join(c) for c in zip(*(rows.label[k] for k in _CELL), strict=True)]
    _, inverse, counts = np.unique(cell, return_inverse=True, return_counts=True)
    weight = np.asarray(1.0 / (1.0 + SHARED * (counts[inverse] - 1.0)), dtype=np.float64)
    return Problem(rows, base, words, effects.parts(rows, base, words), weight)


_CELL = ("source", "kind", "model", "hardware", "family", "format")


def first_guess(words: effects.Vocabulary) -> NDArray[np.float64]:
    """Precision of the prior before anything is known."""
    precision = np.empty(words.size)
    for (effect, name), levels in words.levels.items():
        pooled = "" not in levels or "@" in name
        constant = SD_ANCHORED.get(effect, SD_CONSTANT)
        sd = constant if name == "1" else SD_LEVEL if pooled else SD_SLOPE
        precision[list(levels.values())] = sd**-2
    return precision


def fit(
    task: Problem,
    precision: NDArray[np.float64],
    *,
    start: NDArray[np.float64] | None = None,
    steps: int = 9,
    learn: bool = False,
    only: NDArray[np.int64] | None = None,
) -> Fit:
    """Fit coefficients by Gauss-Newton with Student-t weights.

    Parameters
    ----------
    task : Problem
        Rows and their layout.
    precision : (m,) float
        Of the prior, which is centred on 0.
    start : (m,) float, optional
        First coefficients; 0 by default.
    steps : int
        Most Gauss-Newton steps.
    learn : bool
        Whether to learn the precision of each slope and pool by expectation-maximisation on the way.
    only : (k,) int, optional
        Fit on these rows only.

    Returns
    -------
    Fit
        With ``variance`` the diagonal of the posterior covariance.
    """
    if only is not None:
        laid = [replace(part, index=part.index[only], value=part.value[only]) for part in task.laid]
        task = Problem(task.rows.take(only), task.base.take(only), task.words, laid, task.weight[only])
    target = np.log(task.rows.number["measured"])
    m, n = task.words.size, len(task.rows)
    beta = np.zeros(m) if start is None else start.copy()
    precision = precision.copy()
    normal = np.diag(precision)
    for step in range(steps):
        u = effects.apply(task.laid, beta, n)
        predicted = log_quantity(task.rows, task.base, u)
        residual = target - predicted
        weight = (DEGREES + 1.0) / (DEGREES + (residual / SCALE) ** 2) / SCALE**2 * task.weight
        slopes = _elasticities(task, u, predicted)
        normal, right = normal_equations(task.laid, slopes, weight, residual, beta)
        normal[np.diag_indices(m)] += precision
        moved = np.linalg.solve(normal, right) - beta
        beta = beta + np.clip(moved, -_LONGEST_STEP, _LONGEST_STEP)
        if learn and step >= 2:
            precision = learned_precision(task.words, beta, np.diag(np.linalg.inv(normal)), precision)
        if np.abs(moved).max() < _CLOSE_ENOUGH:
            break
    return Fit(beta, precision, np.diag(np.linalg.inv(normal)) if learn else np.zeros(m))


def learned_precision(
    words: effects.Vocabulary, beta: Column, variance: Column, precision: Column, *, widest: float = SD_RANGE[1]
) -> Column:
    """One step of expectation-maximisation: the prior of each slope and pool is as wide as its levels are spread."""
    out = precision.copy()
    for (_, name), levels in words.levels.items():
        if name != "1" and levels:
            index = list(levels.values())
            spread = np.mean(beta[index] ** 2 + variance[index])
            out[index] = 1.0 / np.clip(spread, SD_RANGE[0] ** 2, widest**2)
    return out


def _elasticities(task: Problem, u: NDArray[np.float64], predicted: Column) -> NDArray[np.float64]:
    out = np.empty_like(u)
    for j in range(len(EFFECTS)):
        nudged = u.copy()
        nudged[:, j] += _NUDGE
        out[:, j] = (log_quantity(task.rows, task.base, nudged) - predicted) / _NUDGE
    return out


def normal_equations(
    laid: list[effects.Part], slopes: NDArray[np.float64], weight: Column, residual: Column, beta: Column
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """J'WJ and J'W(r + J beta), block by block: a pool's columns never meet in a row, so blocks are bin counts."""
    m = len(beta)
    normal, right = np.zeros((m, m)), np.zeros(m)
    padded = np.append(beta, 0.0)
    shift = residual.copy()
    pools: list[tuple[NDArray[np.int64], NDArray[np.int64], Column]] = []
    dense: dict[int, Column] = {}
    for part in laid:
        value = slopes[:, part.effect] * part.value
        shift += value * padded[part.index]
        if not part.pooled:
            if part.index[0] >= 0:
                dense[int(part.index[0])] = value
            continue
        value = np.where(part.index < 0, 0.0, value)
        if np.any(value):
            levels, local = np.unique(part.index, return_inverse=True)
            pools.append((levels, local, value))
    for i, (levels, local, value) in enumerate(pools):
        own = levels >= 0
        right[levels[own]] += np.bincount(local, value * weight * shift, minlength=len(levels))[own]
        for other, there, factor in pools[i:]:
            width = len(other)
            bins = np.bincount(local * width + there, weight * value * factor, minlength=len(levels) * width)
            block = bins.reshape(len(levels), width)[np.ix_(own, other >= 0)]
            normal[np.ix_(levels[own], other[other >= 0])] += block
            if other is not levels:
                normal[np.ix_(other[other >= 0], levels[own])] += block.T
    if dense:
        columns = np.array(list(dense))
        matrix = np.stack([dense[c] for c in columns], axis=1)
        weighted = matrix * weight[:, None]
        normal[np.ix_(columns, columns)] += weighted.T @ matrix
        right[columns] += weighted.T @ shift
        for levels, local, value in pools:
            own = levels >= 0
            order = np.argsort(local, kind="stable")
            starts = np.searchsorted(local[order], np.arange(len(levels)))
            block = np.add.reduceat((weighted * value[:, None])[order], starts, axis=0)[own]
            normal[np.ix_(levels[own], columns)] += block
            normal[np.ix_(columns, levels[own])] += block.T
    return normal, right
