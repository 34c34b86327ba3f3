"""The simulator against recorded runs: before a request of them was seen, and after the first were answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.errors import ReckonerError
from reckoner.predict.rows import read_csv
from reckoner.simulate import loops
from reckoner.simulate.fitting import Observed, first_answers, fit
from reckoner.simulate.forecast import METRICS, QUANTILES, forecast
from reckoner.simulate.prior import front_of, packaged, served
from reckoner.simulate.run import simulate
from reckoner.simulate.runs import Run, read_runs
from reckoner.simulate.server import server_of
from reckoner.simulate.simulation import Simulation

Floats = NDArray[np.float64]

FIRST = 60
"""Answers that a fit learns from."""

RUNS = "simulation/vllm_requests.csv"
PEERS = "simulation/peers.csv"

MEANS = {
    "e2e_mean": ("e2e", None),
    "e2e_p90": ("e2e", 0.9),
    "e2e_p99": ("e2e", 0.99),
    "itl_mean": ("tpot", None),
    "ttft_mean": ("ttft", None),
    "ttft_p90": ("ttft", 0.9),
    "ttft_p99": ("ttft", 0.99),
}
"""Quantities that the authors of other simulators scored: latency, and probability or None for the mean."""


def score(folder: str | Path, *, more: Sequence[str | Path] = (), say: Callable[[str], None] = lambda _: None) -> Any:
    """Score the runs of a ``validation`` folder, and those of other files.

    Parameters
    ----------
    folder : path
        With :data:`RUNS` and :data:`PEERS`.
    more : sequence of path
        Other files of recorded requests (:func:`~reckoner.simulate.runs.read_runs`).
    say : callable
        Told what is going on.

    Returns
    -------
    dict
        ``{"first", "runs": {name: ...}, "refused": {file or name: reason}, "peers", "covered", "loops"}``.
    """
    root = Path(folder)
    runs: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for path in (root / RUNS, *map(Path, more)):
        try:
            read = read_runs(path)
        except ReckonerError as error:
            refused[path.name] = str(error)
            continue
        for run in read:
            say(f"simulating {run.name}")
            try:
                runs[run.name] = score_run(run)
            except ReckonerError as error:
                refused[run.name] = str(error)
    inside = [hit for run in runs.values() for row in run["inside"].values() for hit in row.values()]
    return {
        "first": FIRST,
        "runs": runs,
        "refused": refused,
        "loops": loops.score_loops(root, say=say),
        "covered": round(100.0 * float(np.mean(inside)), 1) if inside else None,
        "peers": [
            {
                "simulator": p["simulator"],
                "metric": p["metric_name"],
                "n": int(p["n"]),
                "median": float(p["median_ape"]),
            }
            for p in read_csv(root / PEERS)
        ],
    }


def score_run(run: Run) -> dict[str, Any]:
    """Score one run: a forecast whose prior has not met it, and a fit to its first answers."""
    everything = np.arange(len(run.arrivals))
    rest = np.setdiff1d(everything, first_answers(run.arrivals, run.observed, FIRST))
    others = packaged().without(run.name)
    efficiency, front = served(run.design, others), front_of(run.design, others)
    ahead = forecast(
        run.design,
        run.arrivals,
        efficiency=efficiency,
        scheduler=run.scheduler,
        kv_tokens=run.kv_tokens,
        front=front,
    )
    zero = server_of(run.design, efficiency=efficiency, scheduler=run.scheduler, kv_tokens=run.kv_tokens, front=front)
    found = fit(
        run.design,
        run.arrivals,
        run.observed,
        first=FIRST,
        scheduler=run.scheduler,
        kv_tokens=run.kv_tokens,
        pool=others,
    )
    after = server_of(
        run.design,
        efficiency=found.efficiency,
        scheduler=run.scheduler,
        kv_tokens=found.kv_tokens,
        front=found.front,
    )
    blind, taught = simulate(zero, run.arrivals), simulate(after, run.arrivals)
    measured = np.stack([np.quantile(_of(run.observed, m), QUANTILES) for m in METRICS])
    scalars = ("mfu", "mbu", "layer")
    return {
        "requests": len(run.arrivals),
        "kv_tokens": zero.kv_tokens,
        "zero_shot": errors(blind, run.observed, everything),
        "inside": _by_metric((ahead.low <= measured) & (measured <= ahead.high)),
        "width": _by_metric(np.round(ahead.high / ahead.low, 2)),
        f"after_{FIRST}": errors(taught, run.observed, rest),
        "means": {
            "zero_shot": _means(blind, run.observed, everything),
            f"after_{FIRST}": _means(taught, run.observed, rest),
        },
        "expected": {name: round(float(getattr(efficiency, name)), 4) for name in scalars},
        "fitted": {name: round(float(getattr(found.efficiency, name)), 4) for name in scalars}
        | {"kv_tokens": found.kv_tokens, "misfit": round(found.misfit, 4)},
    }


def errors(found: Simulation, observed: Observed, rows: NDArray[np.intp]) -> dict[str, Any]:
    """Relative error of each percentile, and the mean absolute error by request."""
    scored: dict[str, Any] = {}
    for metric in METRICS:
        mine, real = _latency(found, metric)[rows], _of(observed, metric)[rows]
        off = np.quantile(mine, QUANTILES) / np.quantile(real, QUANTILES) - 1.0
        scored[metric] = {_name(q): round(float(x), 4) for q, x in zip(QUANTILES, off, strict=True)}
        scored[metric]["mean_absolute"] = round(float(np.mean(np.abs(mine / real - 1.0))), 4)
    return scored


def _means(found: Simulation, observed: Observed, rows: NDArray[np.intp]) -> dict[str, float]:
    out = {}
    for name, (metric, q) in MEANS.items():
        mine, real = _latency(found, metric)[rows], _of(observed, metric)[rows]
        pair = (mine.mean(), real.mean()) if q is None else (np.quantile(mine, q), np.quantile(real, q))
        out[name] = round(float(pair[0] / pair[1] - 1.0), 4)
    return out


def _latency(found: Simulation, metric: str) -> Floats:
    """Latency of every request, gaps of answers of one token included: none of them may shift the rows."""
    if metric == "tpot":
        return np.asarray((found.finish_s - found.first_s) / np.maximum(found.output_tokens - 1, 1))
    return found.latency_s(metric)


def _of(observed: Observed, metric: str) -> Floats:
    values: Floats = getattr(observed, f"{metric}_s")
    return values


def _name(q: float) -> str:
    return f"p{100 * q:g}"


def _by_metric(table: NDArray[Any]) -> dict[str, dict[str, Any]]:
    names = [_name(q) for q in QUANTILES]
    return {m: dict(zip(names, row.tolist(), strict=True)) for m, row in zip(METRICS, table, strict=True)}
