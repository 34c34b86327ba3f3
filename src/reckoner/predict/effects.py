"""Pooled effects: how a row's features and categories make each term slower or faster than its nominal size.

An effect is linear in the logarithm: slopes on device, model and workload properties, plus a deviation for each level
of each pool (class of device, generation, device, engine, number format, ...), shrunk towards the pool above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.predict.quantities import EFFECTS, Basis
from reckoner.predict.rows import Column, Labels, Rows

LAYOUT: dict[str, tuple[str, str]] = {
    "weights": (
        "bandwidth ridge active share year",
        "class generation hardware tier family family*class format format*generation attention timed",
    ),
    "kv": ("context bandwidth", "class tier family attention timed"),
    "decode_flops": ("ridge batch", "class generation family format"),
    "prefill_flops": (
        "ridge bandwidth year tokens active share",
        "class generation hardware tier family family*generation format format*generation attention timed family@year",
    ),
    "layers": (
        "year share devices batch dp ep active split bandwidth",
        "class generation hardware tier family family*class format family*format attention family*vendor family@year",
    ),
    "prefill_layers": (
        "year share active devices split bandwidth",
        "class generation tier family family*class format attention timed setting family*hardware family*attention",
    ),
    "link": ("tp ep batch", "generation family attention"),
    "whole": (
        "year devices batch disagg dp ep context prompt output split disagg*devices disagg*batch dp*batch",
        "timed setting scenario tier family family*timed engine*setting hardware family*hardware timed*generation "
        "model timed*setting family@year",
    ),
    "queue": (
        "batch prompt output disagg dp ep year devices active silicon silicon*batch disagg*batch disagg*prompt",
        "family generation setting scenario attention hardware",
    ),
    "burst": ("batch prompt devices", "family"),
    "power": (
        "compute batch bandwidth devices year active",
        "class generation hardware setting scenario family format attention",
    ),
    "state": ("", "tier family format family*format class"),
    "cache": ("", "tier family"),
    "context": ("active memory", "tier family class"),
    "workspace": ("", "tier family class"),
}
"""Slopes and pools of each effect. ``a*b`` pools over pairs (or multiplies features); ``a@b`` is a slope on b by level
of a; ``timed`` is the group whose time a row's time is, since an energy is a power over such a time. The effect of the
whole quantity has no constant: its size is what the terms say."""

LAYOUT |= {"served_flops": LAYOUT["prefill_flops"], "served_layers": LAYOUT["prefill_layers"]}  # of busy servers

NO_CONSTANT = frozenset({"whole", "state", "cache"})
FEWEST = 2
"""Levels with fewer rows get no deviation of their own."""


def features(rows: Rows, base: Basis) -> dict[str, Column]:
    """Properties that slopes act on, centred and scaled to order one (natural logarithms of what is positive)."""
    x = rows.number
    log = np.log
    load = base.step
    parts = np.asarray(load.weights_s) + load.kv_s + load.layers_s + load.compute_s
    out = {
        "bandwidth": (log(x["bw_gb_s"]) - 7.0) / 1.5,
        "memory": (log(x["mem_gb"]) - 3.5) / 1.5,
        "ridge": np.clip(log(x["peak_tflops"] * 1e3 / x["bw_gb_s"]) - 5.5, -3.0, 3.0),
        "year": np.clip(x["year"] - 2025.0, -2.0, 1.5),
        "active": (log(np.maximum(x["active_b"], 0.05)) - 2.3) / 1.5,
        "share": log(x["share"]) / 1.5,
        "batch": log(base.batch) / 2.5,
        "devices": log(base.devices) / 1.5,
        "prompt": (log(np.maximum(x["n_in"], 8.0)) - 6.0) / 1.5,
        "output": (log(x["n_out"]) - 6.0) / 1.5,
        "tokens": (log(np.maximum(x["n_in"], 1.0) * base.batch + 1.0) - 7.0) / 2.5,
        "context": (log(x["ctx"]) - 7.0) / 1.5,
        "disagg": x["disagg"],
        "dp": x["dp"],
        "ep": (base.ep > 1.0) * 1.0,
        "tp": log(base.tp) / 1.5,
        "split": (x["n_eff"] < x["n"]) * 1.0,
        "compute": log(np.maximum(np.asarray(load.compute_s) / parts, 1e-4)) / 3.0,
        "silicon": np.array([":silicon" in name for name in rows.label["scenario"]]) * 1.0,
    }
    return {name: np.asarray(column, dtype=np.float64) for name, column in out.items()}


@dataclass(frozen=True, slots=True)
class Part:
    """One slope or pool of one effect, laid out over rows: which coefficient each row uses (-1: none), times what."""

    effect: int
    name: str
    pooled: bool
    index: NDArray[np.int64]
    value: Column


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Coefficient of each level of each slope and pool.

    Parameters
    ----------
    levels : mapping of (effect, name) to mapping of label to int
        A slope has one level, the empty label.
    size : int
        Coefficients in all.
    """

    levels: Mapping[tuple[str, str], Mapping[str, int]]
    size: int = field(default=0)


def pool_labels(rows: Rows, name: str) -> Labels:
    """Labels of a pool; pairs are joined with a bar."""
    columns = [rows.label[part] for part in name.split("*")]
    if len(columns) == 1:
        return columns[0]
    return np.array(["|".join(pair) for pair in zip(*columns, strict=True)], dtype=object)


def _pieces(rows: Rows, base: Basis) -> list[tuple[str, str, Labels | None, Column]]:
    """(effect, name, labels or None, value) of everything in :data:`LAYOUT`."""
    known = features(rows, base)
    ones = np.ones(len(rows))
    out: list[tuple[str, str, Labels | None, Column]] = []
    for effect, (slopes, pools) in LAYOUT.items():
        if effect not in NO_CONSTANT:
            out.append((effect, "1", None, ones))
        for name in slopes.split():
            value = ones
            for part in name.split("*"):
                value = value * known[part]
            out.append((effect, name, None, value))
        for name in pools.split():
            pool, _, feature = name.partition("@")
            out.append((effect, name, pool_labels(rows, pool), known[feature] if feature else ones))
    return out


def vocabulary(rows: Rows, base: Basis) -> Vocabulary:
    """Give a coefficient to every level that enough rows have, unless a coarser pool has the very same rows."""
    levels: dict[tuple[str, str], dict[str, int]] = {}
    seen: set[tuple[str, bool, bytes]] = set()
    size = 0
    for effect, name, labels, _ in _pieces(rows, base):
        if labels is None:
            levels[effect, name] = {"": size}
            size += 1
            continue
        kept: dict[str, int] = {}
        names, inverse = np.unique(labels.astype(str), return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        edges = np.searchsorted(inverse[order], np.arange(len(names) + 1))
        for i, label in enumerate(names):
            members = order[edges[i] : edges[i + 1]]
            key = (effect, "@" in name, members.tobytes())
            if len(members) >= FEWEST and key not in seen:
                seen.add(key)
                kept[str(label)] = size
                size += 1
        levels[effect, name] = kept
    return Vocabulary(levels, size)


def parts(rows: Rows, base: Basis, words: Vocabulary) -> list[Part]:
    """Lay the coefficients of ``words`` out over rows; a level that was never seen has none."""
    out = []
    for effect, name, labels, value in _pieces(rows, base):
        found = words.levels.get((effect, name), {})
        if labels is None:
            index = np.full(len(rows), found.get("", -1), dtype=np.int64)
        else:
            index = np.array([found.get(label, -1) for label in labels], dtype=np.int64)
        out.append(Part(EFFECTS.index(effect), name, labels is not None, index, value))
    return out


def apply(laid: list[Part], coefficients: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Effects of shape (n, len(EFFECTS))."""
    padded = np.append(coefficients, 0.0)  # index -1: no deviation
    out = np.zeros((n, len(EFFECTS)))
    for part in laid:
        out[:, part.effect] += padded[part.index] * part.value
    return out


def to_json(
    words: Vocabulary, coefficients: NDArray[np.float64], sd: NDArray[np.float64], rows: NDArray[np.int64]
) -> Any:
    """``{effect: {name: {label: [value, sd, rows]}}}``, rounded to what the evidence bears."""
    out: dict[str, dict[str, dict[str, list[float]]]] = {}
    for (effect, name), levels in words.levels.items():
        entries = {
            k: [round(float(coefficients[j]), 4), round(float(sd[j]), 3), int(rows[j])] for k, j in levels.items()
        }
        out.setdefault(effect, {})[name] = entries
    return out


def from_json(
    data: Mapping[str, Mapping[str, Mapping[str, list[float]]]],
) -> tuple[Vocabulary, NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Read what :func:`to_json` wrote: vocabulary, coefficients, standard deviations, rows."""
    levels: dict[tuple[str, str], dict[str, int]] = {}
    flat: list[list[float]] = []
    for effect, names in data.items():
        for name, entries in names.items():
            levels[effect, name] = {}
            for label, figures in entries.items():
                levels[effect, name][label] = len(flat)
                flat.append(figures)
    table = np.array(flat, dtype=np.float64).reshape(-1, 3)
    return Vocabulary(levels, len(flat)), table[:, 0], table[:, 1], table[:, 2].astype(np.int64)
