"""What the pooled effects leave over is alike in alike configurations: a Gaussian process on the residuals.

The kernel is a sum of levels, each asking for more in common (setting; device; model; the same cell; the same batch and
lengths), and falls off with distance in batch, lengths, devices, split and date. A row near measured ones inherits
their residuals; a row in a new cell gets what its engine and setting share; one with nothing in common gets nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reckoner.predict.quantities import Basis
from reckoner.predict.rows import Column, Rows

NOISE = 0.05
"""Log standard deviation of a measurement. Assumption: between InferenceX' 0.5 % (TPOT) and 3 % (TTFT) and rows whose
versions differ unseen."""
CLIP = 1.0
LARGEST_BLOCK = 3000
_OUTLIER = 2.5

_CELL = ("hardware", "model", "dtype", "engine")
LEVELS: tuple[tuple[float, tuple[str, ...], float], ...] = (
    (0.08, ("scenario",), 0.5),
    (0.08, ("setting", "hardware"), 0.67),
    (0.08, ("scenario", "hardware"), 0.67),
    (0.10, ("scenario", "model"), 0.67),
    (0.10, ("scenario", "generation", "model", "dtype", "engine"), 1.0),
    (0.10, ("setting", *_CELL), 1.0),
    (0.12, ("scenario", *_CELL), 1.0),
    (0.10, ("scenario", *_CELL), 6.0),
    (0.05, ("scenario", *_CELL, "engine_version", "kv_dtype"), 6.0),
)
"""(log standard deviation, what rows must share, how much faster likeness falls off). Assumption: set by hand once; the
hash split inside cells confirms the whole, not each figure (docs/validation.md, column "effects only")."""

SCALES: Mapping[str, float] = {
    "batch": 1.0,
    "prompt": 1.0,
    "output": 1.0,
    "devices": 0.8,
    "tp": 1.0,
    "ep": 1.0,
    "dp": 0.7,
    "year": 0.4,
    "active": 0.8,
    "weights": 0.5,
}
"""Distance at which likeness has fallen to exp(-1/2): natural logarithms; years for the date."""
_PLACE = ("batch", "prompt", "output", "devices", "tp", "ep", "dp")
_LABELS = ("setting", "scenario", "generation", "hardware", "model", "dtype", "engine", "engine_version", "kv_dtype")
PRIOR_VARIANCE = sum(sd**2 for sd, _, _ in LEVELS)


@dataclass(frozen=True, slots=True)
class Points:
    """Configurations: block (group of kinds and engine family), coordinates in units of :data:`SCALES`, and labels."""

    block: NDArray[np.object_]
    place: NDArray[np.float64]
    size: NDArray[np.float64]
    year: Column
    label: Mapping[str, NDArray[np.object_]]

    def take(self, index: NDArray[np.int64]) -> Points:
        """Return the points at ``index``."""
        labels = {k: v[index] for k, v in self.label.items()}
        return Points(self.block[index], self.place[index], self.size[index], self.year[index], labels)


def points(rows: Rows, base: Basis) -> Points:
    """Coordinates and labels of rows."""
    x = rows.number
    log = np.log
    place = {
        "batch": log(base.batch),
        "prompt": log(np.maximum(x["n_in"], 4.0)),
        "output": log(x["n_out"]),
        "devices": log(base.devices),
        "tp": log(base.tp),
        "ep": log(base.ep),
        "dp": x["dp"],
    }
    size = {"active": log(np.maximum(x["active_b"], 0.02)), "weights": log(np.maximum(x["w_gb"], 0.02))}
    blocks = zip(rows.label["group"], rows.label["family"], strict=True)
    return Points(
        np.array(["|".join(pair) for pair in blocks], dtype=object),
        np.stack([place[k] / SCALES[k] for k in _PLACE], axis=1),
        np.stack([size[k] / SCALES[k] for k in size], axis=1),
        np.asarray(x["year"] / SCALES["year"]),
        {k: rows.label[k] for k in _LABELS},
    )


def kernel(a: Points, b: Points) -> NDArray[np.float64]:
    """Covariance of the residuals of every point of ``a`` with every point of ``b``: (len a, len b)."""

    def squared(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        near = np.sum(u**2, axis=1)[:, None] + np.sum(v**2, axis=1)[None, :] - 2.0 * u @ v.T
        return np.asarray(np.maximum(near, 0.0))

    apart = squared(a.place, b.place)
    time = np.exp(-0.5 * squared(a.year[:, None], b.year[:, None]))
    like = np.exp(-0.5 * squared(a.size, b.size))
    same = {k: _coded(a.label[k], b.label[k]) for k in _LABELS}
    out = np.zeros(apart.shape)
    falls: dict[float, NDArray[np.float64]] = {}
    for sd, shared, faster in LEVELS:
        if faster not in falls:
            falls[faster] = np.exp(-0.5 * faster * apart)
        part = sd**2 * falls[faster] * time
        if "model" not in shared:
            part = part * like  # other models count as far as they are of the same size
        for name in shared:
            part = part * same[name]
        out += part
    return out


def _coded(a: NDArray[np.object_], b: NDArray[np.object_]) -> NDArray[np.bool_]:
    names = {name: i for i, name in enumerate(sorted(set(a) | set(b)))}
    left, right = np.array([names[n] for n in a]), np.array([names[n] for n in b])
    return np.asarray(left[:, None] == right[None, :])


@dataclass(frozen=True, slots=True)
class Smoother:
    """Points with residuals, the weights of their covariances, and the variance of each measurement."""

    known: Points
    weight: Column
    noise: Column


def learn(
    known: Points,
    residual: Column,
    *,
    seed: int = 0,
    largest: int = LARGEST_BLOCK,
    blocks: Collection[str] | None = None,
) -> Smoother:
    """Solve for the weights, block by block; outliers, judged by leaving each point out, count as noisier.

    Parameters
    ----------
    known : Points
        Of n rows with measurements.
    residual : (n,) float
        Log of measured over predicted.
    seed, largest : int
        A block of more than ``largest`` rows keeps that many, drawn with ``seed``.
    blocks : collection of str, optional
        Learn these only; all by default.

    Returns
    -------
    Smoother
        Of the rows that were used.
    """
    rng = np.random.default_rng(seed)
    weight, noise = np.zeros(len(residual)), np.full(len(residual), NOISE**2)
    kept = np.zeros(len(residual), dtype=bool)
    for block in sorted(set(known.block) if blocks is None else set(known.block) & set(blocks)):
        index = np.flatnonzero(known.block == block)
        if len(index) > largest:
            index = np.sort(rng.choice(index, largest, replace=False))
        kept[index] = True
        value = np.clip(residual[index], -CLIP, CLIP)
        points_ = known.take(index)
        covariance = kernel(points_, points_)
        inverse = np.linalg.inv(covariance + np.diag(noise[index]))
        without = (inverse @ value) / np.sqrt(np.diag(inverse))  # standardised leave-one-out residual
        strange = np.maximum(np.abs(without) / _OUTLIER, 1.0)
        noise[index] *= np.where(strange > 1.0, 3.0 * strange**2, 1.0)
        weight[index] = np.linalg.solve(covariance + np.diag(noise[index]), value)
    chosen = np.flatnonzero(kept)
    return Smoother(known.take(chosen), weight[chosen], noise[chosen])


def smooth(smoother: Smoother, asked: Points) -> tuple[Column, Column]:
    """Expected residual of each asked point, and how much of the prior variance is explained, 0 to 1.

    The exact posterior variance needs the inverse of each block; the largest squared correlation with one known point
    is a lower bound of what they explain together, and tells seen from unseen, which is what intervals need.
    """
    mean, explained = np.zeros(len(asked.year)), np.zeros(len(asked.year))
    for block in sorted(set(asked.block)):
        index = np.flatnonzero(asked.block == block)
        near = np.flatnonzero(smoother.known.block == block)
        if len(near):
            covariance = kernel(asked.take(index), smoother.known.take(near))
            mean[index] = covariance @ smoother.weight[near]
            known = np.sqrt(PRIOR_VARIANCE * (PRIOR_VARIANCE + smoother.noise[near]))
            explained[index] = np.max(covariance / known[None, :], axis=1) ** 2
    return mean, explained
