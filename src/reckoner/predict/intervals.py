"""Intervals that hold: quantiles of out-of-fold errors, by group of kinds and by how much of a row has been seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.predict.rows import Column, Labels, Rows

LEVEL = 0.9
NOVELTIES = ("same cell", "near", "new pairing", "new model", "new device", "new engine", "new to most")
"""Known neighbours explain most of the row's variance; some of it; model and device are known but not together; one of
them, or the engine or its setting, is unknown; two or more are."""
MEANING = {
    "same cell": "this very configuration was measured",
    "near": "configurations like it were measured",
    "new pairing": "its model, device and engine were measured, though not together",
    "new model": "its model was never measured",
    "new device": "its device was never measured, others of its class were",
    "new engine": "its engine was never measured in this way",
    "new to most": "two or more of model, device and engine were never measured",
}
"""What each of :data:`NOVELTIES` says of the evidence behind an answer, in words."""
SAME, NEAR = 0.9, 0.1
_PRIOR_ROWS = 60.0
"""Rows that the quantile of all kinds counts as when a group's own is pulled towards it. Assumption."""
_PRIOR_SOURCES = 1.0
"""The same in sources: many rows of one source are no evidence of what the next will say. Assumption."""
_AIM = 0.91
"""Share of held-out rows that a width must cover: a little above :data:`LEVEL`, for a source not met yet differs more
from those met than they do from each other. Assumption."""
_PER_ASSUMED = 0.3
"""Widening for each vital input that was missing. Assumption."""
_MOST_STRANGE = 2.5  # widest factor for sources unlike the others; assumption
_FLOOR = 0.02


@dataclass(frozen=True, slots=True)
class Known:
    """Names that the learned prior has met, and how often each engine family met each device."""

    model: frozenset[str]
    hardware: frozenset[str]
    family: frozenset[str]
    setting: frozenset[str]
    engine_setting: frozenset[str]
    pairs: Mapping[str, int]

    @classmethod
    def of(cls, rows: Rows) -> Known:
        """Return the names in ``rows``."""
        pairs = zip(rows.label["family"], rows.label["setting"], strict=True)
        label = rows.label
        names = {k: frozenset(map(str, label[k])) for k in ("model", "hardware", "family", "setting")}
        counted = Counter("|".join(pair) for pair in zip(label["family"], label["hardware"], strict=True))
        return cls(**names, engine_setting=frozenset("|".join(pair) for pair in pairs), pairs=dict(counted))

    def to_json(self) -> dict[str, Any]:
        """Sorted lists, and the rows of each pair of engine family and device."""
        sets = {name: sorted(getattr(self, name)) for name in self.__slots__ if name != "pairs"}
        return sets | {"pairs": dict(self.pairs)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Known:
        """Read what :meth:`to_json` wrote."""
        sets = {name: frozenset(data[name]) for name in cls.__slots__ if name != "pairs"}
        return cls(**sets, pairs=data["pairs"])


def novelty(rows: Rows, known: Known, explained: Column) -> NDArray[np.int64]:
    """Index into :data:`NOVELTIES` of each row.

    Parameters
    ----------
    rows : Rows
        What is asked.
    known : Known
        Names that were met in fitting.
    explained : (n,) float
        Share of variance that known neighbours explain (:func:`reckoner.predict.kriging.smooth`).
    """
    label = rows.label
    model = np.array([name not in known.model for name in label["model"]])
    device = np.array([name not in known.hardware for name in label["hardware"]])
    pairs = zip(label["family"], label["setting"], strict=True)
    engine = np.array(["|".join(pair) not in known.engine_setting for pair in pairs])
    strange = model.astype(int) + device + engine
    out = np.full(len(rows), NOVELTIES.index("new pairing"))
    out[model] = NOVELTIES.index("new model")
    out[device] = NOVELTIES.index("new device")
    out[engine] = NOVELTIES.index("new engine")
    out[strange > 1] = NOVELTIES.index("new to most")
    out[explained >= NEAR] = NOVELTIES.index("near")
    out[explained >= SAME] = NOVELTIES.index("same cell")
    return out


@dataclass(frozen=True, slots=True)
class Bands:
    """Half-widths, in the logarithm, by group of kinds and novelty."""

    width: Mapping[str, tuple[float, ...]]
    everywhere: tuple[float, ...]

    def half_width(self, rows: Rows, new: NDArray[np.int64]) -> Column:
        """Half-width of each row's interval at :data:`LEVEL`."""
        groups = rows.label["group"]
        width = np.array([self.width.get(g, self.everywhere)[i] for g, i in zip(groups, new, strict=True)])
        return np.asarray(width * (1.0 + _PER_ASSUMED * rows.assumed), dtype=np.float64)

    def to_json(self) -> dict[str, list[float]]:
        """Rounded half-widths; the empty key holds those of groups without measurements."""
        named = {name: [round(w, 3) for w in widths] for name, widths in self.width.items()}
        return named | {"": [round(w, 3) for w in self.everywhere]}

    @classmethod
    def from_json(cls, data: Mapping[str, list[float]]) -> Bands:
        """Read what :meth:`to_json` wrote."""
        return cls({name: tuple(w) for name, w in data.items() if name}, tuple(data[""]))


def calibrate(group: Labels, source: Labels, new: NDArray[np.int64], error: Column) -> Bands:
    """Quantiles of out-of-fold errors.

    Parameters
    ----------
    group, source : (n,) str
        Group of kinds and source of each row.
    new : (n,) int
        Novelty that each row had when it was held out.
    error : (n,) float
        Log of predicted over measured.

    Returns
    -------
    Bands
        A group's quantile is pulled towards that of all groups by :data:`_PRIOR_ROWS` rows; one that is narrower, by
        :data:`_PRIOR_SOURCES` sources as well.
    """
    size = np.abs(error)
    everywhere = []
    for i in range(len(NOVELTIES)):
        chosen = new == i
        everywhere.append(_quantile(size[chosen], source[chosen]) if chosen.any() else float("nan"))
    worst = np.nanmax(everywhere)
    everywhere = [float(worst if np.isnan(w) else w) for w in everywhere]
    width = {}
    for name in sorted(set(group)):
        widths = []
        for i, common in enumerate(everywhere):
            chosen = (new == i) & (group == name)
            n, sources = float(chosen.sum()), float(len(set(source[chosen])))
            own = _quantile(size[chosen], source[chosen]) * _strangers(size[chosen], source[chosen]) if n else common
            share = n / (n + _PRIOR_ROWS)
            if own < common:
                share = min(share, sources / (sources + _PRIOR_SOURCES))
            pulled = np.exp(share * np.log(own) + (1.0 - share) * np.log(common))
            widths.append(float(max(pulled, _FLOOR)))
        width[name] = tuple(widths)
    return Bands(width, tuple(everywhere))


def _strangers(size: Column, source: Labels) -> float:
    """Factor by which errors of a source exceed what the quantile of the other sources says, at least 1.

    The next row may come from a source unlike those seen: each source is held against the others in turn, which is what
    a scoreboard does that leaves sources out.
    """
    names = source.astype(str)
    ratio, weight = np.ones(len(size)), np.ones(len(size))
    for name in np.unique(names):
        own = names == name
        if own.all():
            return 1.0
        ratio[own] = size[own] / _quantile(size[~own], source[~own])
        weight[own] = 1.0 / np.sqrt(own.sum())  # between rows that weigh alike and sources that weigh alike
    order = np.argsort(ratio)
    total = np.cumsum(weight[order])
    return float(np.clip(ratio[order][np.searchsorted(total, _AIM * total[-1])], 1.0, _MOST_STRANGE))


def _quantile(size: Column, source: Labels) -> float:
    _, inverse, counts = np.unique(source.astype(str), return_inverse=True, return_counts=True)
    weight = 1.0 / counts[inverse]  # sources weigh alike: the next row may come from any
    order = np.argsort(size)
    total = np.cumsum(weight[order])
    return float(max(size[order][np.searchsorted(total, _AIM * total[-1])], _FLOOR))
