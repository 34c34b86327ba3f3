"""What a serving engine gets of a device before a run of it was seen: learned from the steps of other deployments.

Deployments that were measured (:mod:`reckoner.simulate.cells`) each gave four logarithms: share of the bandwidth,
share of the peak, cost of a layer, and the front's time. They are pooled as a Gaussian process over what deployments
have in common, so that a known device with a new model leans on that device, and a device that is new all round gets
the mean of its like with the spread between them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Design
from reckoner.predict import traits
from reckoner.predict.efficiency import NAMES, PRIOR, Efficiency

Floats = NDArray[np.float64]

SCALARS = ("mbu", "mfu", "layer", "front")
"""What is learned: bandwidth efficiency of weights and cache, compute efficiency of prefills and decodes, launches, and
what a request spends outside of the engine's steps."""

STEP_SCALARS = SCALARS[:3]
"""Those that make a step."""

FRONT_S = 0.01
"""Unit of the learned front: connection, tokens made of text, scheduling, the first token's way back. Assumption; the
fit of a deployment begins here. [s]"""

FRONT_TOKEN_S = 2e-6
"""What each token of the prompt adds in front of the engine. Of 0 to 20 us, 2 (vLLM) and 4 (TensorRT-LLM) left the
least error in the first tokens of InferenceX's closed loops (seen 2026-11-21). [s/token]"""

BEGUN = replace(PRIOR, mbu=0.7, mbu_kv=0.7, mfu=0.7, mfu_decode=0.7, layer_prefill=1.0)
"""Unit of the learned scalars, and where a fit begins: one share of the bandwidth for weights and cache, one of the
peak for prefills and decodes, and the same launches in both. Separate starts for each (0.6 of the bandwidth for the
cache) left gaps 3.5 % too long under load on a run of which this one leaves 1.5 %."""

KIN = ("device", "generation", "class", "engine", "kind", "model")
"""What deployments share; ``kind`` is dense or of experts, with 16 bits a weight or fewer."""

SLOPES = ("tp", "bandwidth")
"""Logarithms of the ranks that share a layer, and of the bandwidth over 2 TB/s: faster memory is used less fully."""

_WIDE = 0.5  # standard deviation of what all deployments share, in the logarithm. Assumption.
DATA = "cells.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One deployment that was measured.

    Parameters
    ----------
    labels : tuple of str
        By :data:`KIN`.
    place : tuple of float
        By :data:`SLOPES`.
    log : tuple of float
        Logarithms of :data:`SCALARS` over those of :data:`BEGUN` and :data:`FRONT_S`; NaN for one not shown.
    n : int
        Measurements behind it.
    source : str
        Where it was published.
    """

    labels: tuple[str, ...]
    place: tuple[float, ...]
    log: tuple[float, ...]
    n: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Cells, and how alike they make each other.

    Parameters
    ----------
    cells : tuple of Cell
        What was measured.
    spread : (len(SCALARS), len(KIN) + len(SLOPES) + 1) float
        Standard deviations, in the logarithm: of what each of :data:`KIN` shares, of the slopes on :data:`SLOPES`, and
        of single cells.
    """

    cells: tuple[Cell, ...]
    spread: Floats

    def without(self, source: str) -> Pool:
        """Leave a source's cells out."""
        return replace(self, cells=tuple(cell for cell in self.cells if cell.source != source))

    def without_kin(self, kin: str, name: str) -> Pool:
        """Leave out the cells that share a name by one of :data:`KIN`."""
        at = KIN.index(kin)
        return replace(self, cells=tuple(cell for cell in self.cells if cell.labels[at] != name))


def labels_of(design: Design) -> tuple[str, ...]:
    """Labels of a design, by :data:`KIN`."""
    device, model = design.device, design.model
    family = traits.family(design.engine, "", device.name, "")
    sparse = model.active_params < 0.97 * model.params
    bits = "16" if design.weights_format.bytes_per_element >= 2.0 else "few"
    return (
        device.name,
        traits.generation(device.name, device.device_class),
        traits.device_class(device.name, device.device_class),
        family,
        f"{traits.attention_kind(model.name, sparse)} {bits}",
        model.name,
    )


def place_of(design: Design) -> tuple[float, ...]:
    """Numbers of a design, by :data:`SLOPES`."""
    ranks = float(np.asarray(design.serving.tp))
    return math.log(ranks), math.log(design.device.bandwidth_bytes_per_s / 2e12)


def predict_log(pool: Pool, labels: Sequence[str], place: Sequence[float]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the logarithms of :data:`SCALARS`, for one deployment.

    Parameters
    ----------
    pool : Pool
        What is known.
    labels : sequence of str
        By :data:`KIN`.
    place : sequence of float
        By :data:`SLOPES`.

    Returns
    -------
    mean, sd : (len(SCALARS),) float
        Over :data:`BEGUN`; the spread is that of a single deployment.
    """
    mean, sd = np.zeros(len(SCALARS)), np.zeros(len(SCALARS))
    every = (*pool.cells, Cell(labels=tuple(labels), place=tuple(place), log=(0.0,) * len(SCALARS), n=0, source=""))
    for s in range(len(SCALARS)):
        shared = covariance(every, pool.spread[s])
        own = float(pool.spread[s, -1]) ** 2
        seen = np.array([cell.log[s] for cell in pool.cells])
        told = np.flatnonzero(np.isfinite(seen))
        known = shared[np.ix_(told, told)] + own * np.eye(len(told))
        weights = np.linalg.solve(known, shared[told, -1]) if len(told) else np.zeros(0)
        mean[s] = float(weights @ seen[told])
        sd[s] = math.sqrt(max(float(shared[-1, -1] - weights @ shared[told, -1]), 0.0) + own)
    return mean, sd


def covariance(cells: Sequence[Cell], spread: Floats) -> Floats:
    """Of what cells share, (n, n); without what is each cell's own."""
    names = np.array([cell.labels for cell in cells]).reshape(len(cells), len(KIN))
    places = np.array([cell.place for cell in cells]).reshape(len(cells), len(SLOPES))
    out = np.full((len(cells), len(cells)), _WIDE**2)
    for k in range(len(KIN)):
        out += spread[k] ** 2 * (names[:, None, k] == names[None, :, k])
    for k in range(len(SLOPES)):
        out += spread[len(KIN) + k] ** 2 * places[:, None, k] * places[None, :, k]
    return out


def served(design: Design, pool: Pool | None = None) -> Efficiency:
    """Efficiency of a serving engine on a design, with its covariance.

    Parameters
    ----------
    design : Design
        Of scalars.
    pool : Pool, optional
        The packaged one by default.

    Returns
    -------
    Efficiency
        Its covariance ties ``mbu`` to ``mbu_kv``, ``mfu`` to ``mfu_decode`` and ``layer`` to ``layer_prefill``.
    """
    chosen = packaged() if pool is None else pool
    labels = labels_of(design)
    mean, sd = predict_log(chosen, labels, place_of(design))
    place = {"mbu": 0, "mbu_kv": 0, "mfu": 1, "mfu_decode": 1, "layer": 2, "layer_prefill": 2}
    known = np.zeros((len(NAMES), len(NAMES)))
    for i, one in enumerate(NAMES):
        for j, other in enumerate(NAMES):
            if one in place and place[one] == place.get(other):
                known[i, j] = sd[place[one]] ** 2
    known[-1, -1] = PRIOR.covariance[-1, -1]
    alike = sum(cell.n for cell in chosen.cells if cell.labels[0] == labels[0] and cell.labels[3] == labels[3])
    return replace(
        scaled(BEGUN, mean),
        covariance=known,
        sigma=0.0,
        n=alike,
        source=f"steps of {len(chosen.cells)} measured deployments, {alike} measurements on this device and engine",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What a request spends outside of the engine's steps.

    Parameters
    ----------
    seconds : float
        Of every request. [s]
    token_s : float
        Of each token of its prompt besides. [s/token]
    sd : float
        Standard deviation of the logarithm of ``seconds``.
    """

    seconds: float
    token_s: float
    sd: float


def expected_log(design: Design, pool: Pool | None = None) -> Floats:
    """Mean logarithms of :data:`SCALARS` for a design, over :data:`BEGUN` and :data:`FRONT_S`."""
    return predict_log(packaged() if pool is None else pool, labels_of(design), place_of(design))[0]


def front_of(design: Design, pool: Pool | None = None) -> Front:
    """Front of a served deployment, as :func:`served` is its efficiency."""
    mean, sd = predict_log(packaged() if pool is None else pool, labels_of(design), place_of(design))
    at = SCALARS.index("front")
    return Front(seconds=FRONT_S * math.exp(mean[at]), token_s=FRONT_TOKEN_S, sd=float(sd[at]))


def scaled(begun: Efficiency, x: Floats) -> Efficiency:
    """Scale an efficiency by the exponentials of the logarithms of :data:`STEP_SCALARS`, in that order."""
    bytes_, flops, layer = np.exp(np.clip(x[: len(STEP_SCALARS)], -5.0, 5.0)).tolist()
    return replace(
        begun,
        # No deployment beats the printed limits: a fit that wants to has something else wrong, such as the cache.
        mfu=min(float(begun.mfu * flops), 1.0),
        mfu_decode=min(float(begun.mfu_decode * flops), 1.0),
        mbu=min(float(begun.mbu * bytes_), 1.0),
        mbu_kv=min(float(begun.mbu_kv * bytes_), 1.0),
        layer=begun.layer * layer,
        layer_prefill=begun.layer_prefill * layer,
    )


def is_served(design: Design) -> bool:
    """Whether the pool speaks of a design: a serving engine on a GPU."""
    family = traits.family(design.engine, "", design.device.name, "")
    return design.device.device_class == "gpu" and traits.tier(family) == "serve"


def to_json(pool: Pool) -> dict[str, Any]:
    """Plain values, rounded to what the evidence bears."""
    return {
        "kin": list(KIN),
        "slopes": list(SLOPES),
        "spread": {name: [round(float(v), 3) for v in row] for name, row in zip(SCALARS, pool.spread, strict=True)},
        "cells": [
            {
                "labels": list(cell.labels),
                "place": [round(v, 3) for v in cell.place],
                "log": [round(v, 3) if math.isfinite(v) else None for v in cell.log],
                "n": cell.n,
                "source": cell.source,
            }
            for cell in pool.cells
        ],
    }


def from_json(data: dict[str, Any]) -> Pool:
    """Read what :func:`to_json` wrote."""
    cells = tuple(
        Cell(
            labels=tuple(c["labels"]),
            place=tuple(c["place"]),
            log=tuple(math.nan if v is None else v for v in c["log"]),
            n=int(c["n"]),
            source=c["source"],
        )
        for c in data["cells"]
    )
    return Pool(cells=cells, spread=np.array([data["spread"][name] for name in SCALARS]))


@cache
def packaged() -> Pool:
    """Return the pool that ships with the package."""
    return from_json(json.loads(files("reckoner.simulate").joinpath("data", DATA).read_text(encoding="utf-8")))
