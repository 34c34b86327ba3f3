"""Closed loops that were published, simulated while their like is left out of the pool: how far that carries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Design
from reckoner.simulate.cells import deployments, open_rows, played
from reckoner.simulate.prior import KIN, Pool, expected_log, labels_of, packaged, place_of

Floats = NDArray[np.float64]

HELD = ("deployment", "device", "model", "source")
"""What is left out of the pool: the deployment itself, or all that shares its device, model or source."""

SAME_RUNS = (("inferencex", "silicon_agg"),)
"""Sources that publish runs of the same people, and go together."""


def score_loops(folder: str | Path, *, say: Callable[[str], None] = lambda _: None) -> list[dict[str, Any]]:
    """Score the closed loops of a ``validation`` folder by engine and source.

    Returns
    -------
    list of dict
        ``{"engine", "source", "metric", "n", "held": {what: {"median", "bias"}}}``: median absolute error and median
        signed error, in per cent, by :data:`HELD`.
    """
    off: dict[tuple[str, str, str], dict[str, list[Floats]]] = defaultdict(lambda: defaultdict(list))
    found = deployments(open_rows(Path(folder)))
    say(f"simulating the closed loops of {len(found)} deployments, {len(HELD)} times each")
    for design, loops, source in found:
        arrivals = loops.arrivals()
        for held in HELD:
            expected = expected_log(design, left_out(packaged(), design, source, held))
            gap_s, first_s = played(design, expected, loops, arrivals)
            for metric, mine, real in (("gap", gap_s, loops.gap_s), ("first token", first_s, loops.first_s)):
                stated = np.isfinite(real)
                off[labels_of(design)[KIN.index("engine")], source, metric][held].append(np.log(mine / real)[stated])
    return [
        {
            "engine": engine,
            "source": source,
            "metric": metric,
            "n": sum(map(len, by[HELD[0]])),
            "held": {held: _told(np.concatenate(by[held])) for held in HELD},
        }
        for (engine, source, metric), by in sorted(off.items())
        if sum(map(len, by[HELD[0]]))
    ]


def left_out(pool: Pool, design: Design, source: str, held: str) -> Pool:
    """Return the pool without what shares one of :data:`HELD` with a deployment."""
    if held == "source":
        for name in next((names for names in SAME_RUNS if source in names), (source,)):
            pool = pool.without(name)
        return pool
    labels, place = labels_of(design), place_of(design)
    if held == "deployment":
        same = [c.labels == labels and abs(c.place[0] - place[0]) < 1e-3 for c in pool.cells]
        return replace(pool, cells=tuple(c for c, is_it in zip(pool.cells, same, strict=True) if not is_it))
    return pool.without_kin(held, labels[KIN.index(held)])


def _told(logs: Floats) -> dict[str, float]:
    return {
        "median": round(100.0 * float(np.median(np.abs(np.expm1(logs)))), 1),
        "bias": round(100.0 * float(np.expm1(np.median(logs))), 1),
    }
