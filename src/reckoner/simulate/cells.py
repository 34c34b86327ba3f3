"""Deployments that were measured, as cells of the prior: ``python -m reckoner.simulate.cells [validation]``.

From closed loops at a constant number of clients each deployment's gaps between tokens give its three scalars, for in a
steady state a gap is one decode step and each request's share of the other clients' prefills. Runs recorded request by
request give theirs by simulation.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reckoner.catalogue import find
from reckoner.design import Design, Serving
from reckoner.errors import ReckonerError
from reckoner.files import write_atomic
from reckoner.predict.efficiency import Efficiency
from reckoner.predict.rows import Rows, build, read_csv
from reckoner.simulate.cost import step_cost
from reckoner.simulate.fitting import fit, minimise
from reckoner.simulate.prior import (
    BEGUN,
    DATA,
    KIN,
    SCALARS,
    SLOPES,
    Cell,
    Pool,
    covariance,
    labels_of,
    packaged,
    place_of,
    scaled,
    to_json,
)
from reckoner.simulate.runs import Run, read_runs

Floats = NDArray[np.float64]

FEWEST = 4
"""Measurements below which a deployment makes no cell. Assumption."""
WORST = 0.27
"""Median error, in the logarithm, above which a cell's scalars do not describe it and it is left out. Assumption."""
SINCE = 2025.5
"""Year of the oldest engines that count: those before decode at a third of the pace. Assumption."""
_FAR, _PULL = 0.5, 0.002  # largest error that counts in full, and the pull towards no change. Assumption.
_USUAL = np.array([0.25, 0.5, 1.0])
"""Spread that is expected of each scalar: where bandwidth and launches could both explain a slow step on a fast device,
launches do. Assumption."""
_SEES = re.compile(r"image|video|mllm|omni|vl-")  # models that read pictures spend time that no term here stands for
_CHUNK = 8192  # tokens of the pass whose slope is the cost of a prompt's token


@dataclass(frozen=True, slots=True)
class Loops:
    """Closed loops of one deployment: clients, lengths and the gap between tokens, each of shape (n,)."""

    clients: Floats
    prompt: Floats
    output: Floats
    gap_s: Floats


def gaps_s(design: Design, efficiency: Efficiency, loops: Loops) -> Floats:
    """Gap between tokens of a closed loop in its steady state: a decode step, and a share of the others' prefills."""
    most = int(np.ceil(loops.clients.max())) + 1
    cost = step_cost(design, efficiency, max_seqs=most, tokens=_CHUNK)
    step_s = np.interp(loops.clients, np.arange(most + 1.0), cost.decode_s)
    step_s = step_s + cost.kappa_s * loops.clients * (loops.prompt + 0.5 * loops.output)
    token_s = (cost.pass_s[_CHUNK] - cost.pass_s[1]) / (_CHUNK - 1)
    prefill_s = token_s * loops.prompt + 0.5 * cost.pair_s * loops.prompt**2
    return np.asarray(step_s + np.maximum(loops.clients - 1.0, 0.0) * prefill_s / loops.output)


def of_loops(design: Design, loops: Loops, source: str) -> Cell | None:
    """Fit a cell; None where three scalars do not describe it."""
    target = np.log(loops.gap_s)

    def error(x: Floats) -> Floats:
        return np.asarray(np.abs(np.log(gaps_s(design, scaled(BEGUN, x), loops)) - target))

    def loss(x: Floats) -> float:
        return float(np.minimum(error(x), _FAR).mean() + _PULL * np.square(x / _USUAL).sum())

    x = minimise(loss, np.zeros(len(SCALARS)))
    if float(np.median(error(x))) > WORST:
        return None
    return _cell(design, x, len(target), source)


def of_run(run: Run) -> Cell:
    """Fit a cell to all answers of a recorded run."""
    found = fit(run.design, run.arrivals, run.observed, first=len(run.arrivals), scheduler=run.scheduler)
    x = [np.log(getattr(found.efficiency, name) / getattr(BEGUN, name)) for name in SCALARS]
    return _cell(run.design, np.array(x), len(run.arrivals), run.name)


def _cell(design: Design, x: Floats, n: int, source: str) -> Cell:
    return Cell(labels=labels_of(design), place=place_of(design), log=tuple(x.tolist()), n=n, source=source)


def of_rows(rows: Rows) -> list[Cell]:
    """Cells of all closed loops of aggregated servers among published measurements."""
    label, x = rows.label, rows.number
    tp = np.where(np.isfinite(x["tp"]), x["tp"], 1.0)
    keep = (label["kind"] == "serving_tpot") & (x["disagg"] == 0.0) & (x["dp"] == 0.0) & (x["year"] >= SINCE)
    keep &= np.array([_SEES.search(f"{s} {m}") is None for s, m in zip(label["scenario"], label["model"], strict=True)])
    keep &= (label["class"] != "apple") & (np.nan_to_num(x["pp"], nan=1.0) == 1.0)
    groups: dict[tuple[str, ...], list[int]] = {}
    for i in np.flatnonzero(keep):
        shared = max(float(tp[i]), float(x["n"][i]))  # ranks that share experts share the layer
        names = (label["source"][i], label["family"][i], label["hardware"][i], label["model"][i], label["dtype"][i])
        groups.setdefault((*map(str, names), f"{shared:g}"), []).append(int(i))
    cells = []
    for (source, family, device, model, dtype, shared_by), members in sorted(groups.items()):
        if len(members) < FEWEST:
            continue
        try:
            serving = Serving(engine=family, weights=dtype, tp=float(shared_by))
            design = Design(model=find.model(model), device=find.device(device), serving=serving)
        except ReckonerError:
            continue  # a name or a format that the catalogue does not have: nothing to learn a design from
        chosen = np.array(members)
        loops = Loops(x["batch"][chosen], np.maximum(x["n_in"][chosen], 1.0), x["n_out"][chosen], x["measured"][chosen])
        cell = of_loops(design, loops, source)
        if cell is not None:
            cells.append(cell)
    return cells


def pooled(cells: Sequence[Cell]) -> Pool:
    """Learn how alike cells make each other: the spreads that make what was seen likeliest, by leaving kin out.

    Notes
    -----
    The likelihood is that of a Gaussian process, with a weak pull of every spread towards 0.2.
    """
    ordered = tuple(sorted(cells, key=lambda cell: (cell.source, cell.labels, cell.place)))
    spread = np.zeros((len(SCALARS), len(KIN) + len(SLOPES) + 1))
    for s in range(len(SCALARS)):
        seen = np.array([cell.log[s] for cell in ordered])

        def surprise(z: Floats, seen: Floats = seen) -> float:
            widths = np.exp(np.clip(z, -6.0, 2.0))
            k = covariance(ordered, widths) + (widths[-1] ** 2 + 1e-6) * np.eye(len(ordered))
            log_det = float(np.linalg.slogdet(k)[1])
            fits = float(seen @ np.linalg.solve(k, seen))
            return 0.5 * fits + 0.5 * log_det + 0.25 * float(np.square(z - np.log(0.2)).sum())

        begin = np.full(len(KIN) + len(SLOPES) + 1, np.log(0.2))
        spread[s] = np.exp(minimise(surprise, minimise(surprise, begin, reach=0.7, steps=400), steps=400))
    return Pool(cells=ordered, spread=spread)


def learn(folder: str | Path) -> Pool:
    """Learn from the open rows and runs of a ``validation`` folder."""
    root = Path(folder)
    rows = build([row for row in read_csv(root / "items.csv.gz") if row.get("kind") == "serving_tpot"])
    runs = read_runs(root / "simulation" / "vllm_requests.csv")
    return pooled([*of_rows(rows), *map(of_run, runs)])


def main(arguments: Sequence[str]) -> int:
    """Learn the pool and write it into the package's data folder."""
    pool = learn(arguments[0] if arguments else "validation")
    save(pool)
    return 0


def save(pool: Pool) -> None:
    """Write the pool that ships with the package."""
    folder = Path(__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    write_atomic(folder / DATA, json.dumps(to_json(pool), ensure_ascii=False, indent=0) + "\n")
    packaged.cache_clear()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
