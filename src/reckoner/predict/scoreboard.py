"""Scores of predictions against published measurements, and what explains the worst misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.predict.intervals import NOVELTIES, Bands, calibrate
from reckoner.predict.rows import Column, Labels

FEWEST = 10
"""Rows that a source needs to enter the average over sources."""
TTFT = "serving_ttft"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Rows of one way of holding out, with what was predicted.

    Parameters
    ----------
    label : mapping of str to (n,) str
        At least kind, source, class, format.
    truth, log : (n,) float
        Logarithms of measured and predicted.
    half_width : (n,) float
        Of the 90 % interval, in the logarithm.
    others : mapping of str to (n,) float
        Logarithms that other predictors gave for the same rows; NaN where they gave none.
    """

    label: Mapping[str, Labels]
    truth: Column
    log: Column
    half_width: Column
    others: Mapping[str, Column]


def ape(log: Column, truth: Column) -> Column:
    """Absolute error in per cent of the measured value, from logarithms."""
    return np.asarray(100.0 * np.abs(np.expm1(log - truth)))


def summary(rows: Scored, chosen: NDArray[np.bool_]) -> dict[str, Any]:
    """Score the chosen rows."""
    error, truth = ape(rows.log[chosen], rows.truth[chosen]), rows.truth[chosen]
    half = rows.half_width[chosen]
    inside = np.abs(rows.log[chosen] - truth) <= half
    out: dict[str, Any] = {
        "n": int(chosen.sum()),
        "median_ape": _round(np.median(error)),
        "mean_ape": _round(np.mean(error)),
        "p90_ape": _round(np.quantile(error, 0.9)),
        "bias": _round(100.0 * np.median(np.expm1(rows.log[chosen] - truth))),
        "coverage": _round(100.0 * np.mean(inside)),
        "width": round(float(np.median(np.exp(half))), 2),
    }
    for name, log in rows.others.items():
        known = np.isfinite(log[chosen])
        if known.any():
            out[name] = _round(np.median(ape(log[chosen][known], truth[known])))
            if not known.all():
                out[f"{name}_n"] = int(known.sum())
    return out


def _round(value: float | np.floating[Any]) -> float:
    return round(float(value), 1)


def by(rows: Scored, *names: str) -> dict[str, dict[str, Any]]:
    """Score each combination of labels, keys joined by a bar."""
    keys = np.array(["|".join(row) for row in zip(*(rows.label[n] for n in names), strict=True)])
    return {str(key): summary(rows, keys == key) for key in np.unique(keys)}


def averaged(rows: Scored, grades: Mapping[tuple[str, str], str], *, fewest: int = FEWEST) -> dict[str, dict[str, Any]]:
    """Average each kind's median error over sources, as the published scoring rule says.

    Parameters
    ----------
    rows : Scored
        What was predicted.
    grades : mapping of (source, kind) to str
        C-graded kinds are left out, except for TTFT, where the truth is needed and all are C.
    fewest : int
        Rows that a source needs.
    """
    out: dict[str, dict[str, Any]] = {}
    sources, kinds = rows.label["source"], rows.label["kind"]
    for kind in sorted(set(kinds)):
        found = []
        for source in sorted(set(sources[kinds == kind])):
            chosen = np.asarray((kinds == kind) & (sources == source))
            if chosen.sum() >= fewest and (grades.get((source, kind)) != "C" or kind == TTFT):
                found.append(summary(rows, chosen))
        if found:
            every = {name for f in found for name in f} - {"n"}
            means = {n: _round(np.mean([f[n] for f in found if n in f])) for n in sorted(every) if not n.endswith("_n")}
            out[str(kind)] = {"n": sum(f["n"] for f in found), "sources": len(found), **means}
    return out


def honest_half_widths(group: Labels, source: Labels, new: NDArray[np.int64], error: Column) -> Column:
    """Interval half-width of each row, calibrated without the row's own source."""
    out = np.full(len(error), np.nan)
    for name in sorted(set(source)):
        own = np.asarray(source == name)
        rest = ~own
        bands: Bands = calibrate(group[rest], source[rest], new[rest], error[rest])
        widths = [bands.width.get(g, bands.everywhere)[i] for g, i in zip(group[own], new[own], strict=True)]
        out[own] = widths
    return out


def explain_miss(kind: str, label: Mapping[str, str], error: float, new: int) -> str:
    """Name the likeliest reason of a large miss, by rule."""
    if label.get("disagg") == "True" or kind == "serving_tpot_disagg":
        return "split between prefill and decode workers is not stated; speculation possible"
    if kind == TTFT:
        return "queue of a start-up burst or an overloaded prefill, which the row does not state"
    if label.get("attention") == "mla" and error > 0.0:
        return "measured faster than the bytes allow without it: multi-token prediction likely"
    if kind.startswith("energy"):
        return "power draw of the host or idle share not stated"
    if NOVELTIES[new] == "new to most":
        return "device, model and engine new together: the pooled prior only"
    if label.get("family") in ("transformers", "tgi", "deepspeed"):
        return "host-bound engine: the unstated processor and software version decide"
    if label.get("class") == "cpu":
        return "threads and memory channels in use are not stated"
    return "engine version or a path (kernel, offload, cache) that the row does not name"


def worst(rows: Scored, new: NDArray[np.int64], items: Sequence[str], count: int = 20) -> list[dict[str, Any]]:
    """Largest errors in the logarithm, one for each cell (source, kind, model, device), each with a likely reason."""
    error = rows.log - rows.truth
    out: list[dict[str, Any]] = []
    seen: set[tuple[str, ...]] = set()
    for i in np.argsort(-np.abs(error), kind="stable"):
        label = {name: str(column[i]) for name, column in rows.label.items()}
        cell = (label["source"], label["kind"], label["model"], label["hardware"])
        if cell in seen:
            continue
        seen.add(cell)
        entry = {name: label[name] for name in ("source", "kind", "model", "hardware", "engine")}
        numbers = {"measured": float(np.exp(rows.truth[i])), "predicted": float(np.exp(rows.log[i]))}
        reason = explain_miss(label["kind"], label, float(error[i]), int(new[i]))
        rounded = {name: float(f"{value:.4g}") for name, value in numbers.items()}
        out.append({"item": items[i], **entry, **rounded, "likely": reason})
        if len(out) == count:
            break
    return out
