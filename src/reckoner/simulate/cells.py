"""Deployments that were measured, as cells of the prior: ``python -m reckoner.simulate.cells [validation]``.

Closed loops at a constant number of clients, and runs recorded request by request, are simulated until their gaps
between tokens and their first tokens are those that were measured.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.catalogue import find
from reckoner.design import Design, Serving
from reckoner.errors import ReckonerError
from reckoner.files import write_atomic
from reckoner.predict.rows import Rows, build, read_csv
from reckoner.predict.silicon import as_items
from reckoner.simulate.arrivals import Arrivals, closed_loop
from reckoner.simulate.fitting import fit, minimise
from reckoner.simulate.lengths import Ints, Lengths
from reckoner.simulate.prior import (
    BEGUN,
    DATA,
    FRONT_S,
    FRONT_TOKEN_S,
    KIN,
    SCALARS,
    SLOPES,
    STEP_SCALARS,
    Cell,
    Front,
    Pool,
    covariance,
    labels_of,
    packaged,
    place_of,
    scaled,
    to_json,
)
from reckoner.simulate.run import simulate
from reckoner.simulate.runs import Run, read_runs
from reckoner.simulate.schedulers import Continuous
from reckoner.simulate.server import server_of

Floats = NDArray[np.float64]

FEWEST = 4
"""Measurements below which a deployment makes no cell. Assumption."""
WORST = 0.27
"""Median error, in the logarithm, above which a cell's scalars do not describe it and it is left out. Assumption."""
SINCE = 2025.5
"""Year of the oldest engines that count: those before decode at a third of the pace. Assumption."""
_FAR, _PULL = 0.5, 0.002  # largest error that counts in full, and the pull towards no change. Assumption.
_USUAL = np.array([0.25, 0.5, 1.0, 1.0])
"""Spread that is expected of each scalar: where bandwidth and launches could both explain a slow step on a fast device,
launches do. Assumption."""
_SEES = re.compile(r"image|video|mllm|omni|vl-")  # models that read pictures spend time that no term here stands for
FIRST_WEIGHT = 0.5
"""Weight of a first token's error beside a gap's, which is told more exactly. Assumption."""
_SEATS, _CHUNK = 1024, 8192  # limits of the servers in these benchmarks, which state none: vLLM's on such devices
_AMPLE = 10**9  # tokens of cache: these benchmarks are sized to fit
_RANGED = 0.8  # InferenceX draws lengths from 0.8 to 1 of the nominal (its random_range_ratio)
_PROMPTS_GUESSED = "closed_loop_steady_state"  # ML.ENERGY publishes no prompt lengths
_ROUNDS, _FEW, _MANY = 10, 24, 3000  # requests of a client, and fewest and most of a loop
_MOST_LOOPS = 24  # of a deployment: more of them say the same


@dataclass(frozen=True, slots=True)
class Loops:
    """Closed loops of one deployment.

    Parameters
    ----------
    clients, prompt, output : (n,) float
        Clients, and the longest prompt and answer.
    gap_s, first_s : (n,) float
        Medians of the gap between tokens and of the first token; NaN where not stated. [s]
    least : float
        Shortest length of a request as a share of the longest.
    by_mean : bool
        Whether first tokens are means.
    guessed : bool
        Whether prompts are no more than guessed, so that gaps tell nothing of the cost of reading them.
    """

    clients: Floats
    prompt: Floats
    output: Floats
    gap_s: Floats
    first_s: Floats
    least: float = 1.0
    by_mean: bool = False
    guessed: bool = False

    def arrivals(self) -> list[Arrivals]:
        """Requests of each loop, a few for every client."""
        found = []
        for clients, prompt, output in zip(self.clients, self.prompt, self.output, strict=True):
            n = int(np.clip(_ROUNDS * clients, _FEW, max(_MANY, clients)))
            found.append(closed_loop(int(clients), _uniform(self.least, prompt, output), n=n, seed=0))
        return found


def _uniform(least: float, prompt: float, output: float) -> Lengths:
    def draw(rng: np.random.Generator, n: int) -> tuple[Ints, Ints]:
        longest = ((rng.uniform(least, 1.0, n), most) for most in (prompt, output))
        made = [np.maximum(np.rint(share * most), 1.0).astype(np.int32) for share, most in longest]
        return made[0], made[1]

    return draw


def played(design: Design, x: Floats, loops: Loops, arrivals: Sequence[Arrivals]) -> tuple[Floats, Floats]:
    """Median gap and typical first token of each loop, simulated with scaled efficiencies, in s."""
    most = max(int(loops.clients.max()), 1)
    limits = Continuous(max_seqs=max(most, _SEATS), token_budget=max(most, _CHUNK))
    front = Front(seconds=FRONT_S * float(np.exp(np.clip(x[-1], -5.0, 5.0))), token_s=FRONT_TOKEN_S, sd=0.0)
    server = server_of(design, efficiency=scaled(BEGUN, x), scheduler=limits, kv_tokens=_AMPLE, front=front)
    found = [simulate(server, one) for one in arrivals]
    first = np.mean if loops.by_mean else np.median
    gaps = [np.median(one.latency_s("tpot")) for one in found]
    return np.array(gaps), np.array([first(one.latency_s("ttft")) for one in found])


def of_loops(design: Design, loops: Loops, source: str) -> Cell | None:
    """Fit a cell; None where the scalars do not describe its gaps.

    Where no front explains the first tokens, as for a server whose versions differ, they are left out and the front is
    not told.
    """
    arrivals = loops.arrivals()
    gap, first = np.log(loops.gap_s), np.log(loops.first_s)
    stated = np.isfinite(first)

    def errors(x: Floats) -> tuple[Floats, Floats]:
        gap_s, first_s = played(design, x, loops, arrivals)
        return np.abs(np.log(gap_s) - gap), np.abs(np.log(first_s) - first)[stated]

    def fitted(with_first: bool) -> tuple[Floats, float, float]:
        def loss(x: Floats) -> float:
            of_gap, of_first = errors(x)
            missed = float(np.minimum(of_gap, _FAR).mean())
            if with_first:
                missed += FIRST_WEIGHT * float(np.minimum(of_first, _FAR).mean())
            return missed + _PULL * float(np.square(x / _USUAL).sum())

        x = minimise(loss, np.zeros(len(SCALARS)))
        of_gap, of_first = errors(x)
        return x, float(np.median(of_gap)), float(np.median(of_first)) if with_first else np.inf

    x, off, off_first = fitted(int(stated.sum()) >= FEWEST)
    if off_first > WORST:  # or none stated
        x, off, _ = fitted(False)
        x[-1] = np.nan
    if loops.guessed and np.isnan(x[-1]):
        x[SCALARS.index("mfu")] = np.nan
    return _cell(design, x, len(gap), source) if off <= WORST else None


def of_run(run: Run) -> Cell:
    """Fit a cell to all answers of a recorded run; its first tokens waited too long to show a front."""
    nobody = Pool(cells=(), spread=np.ones((len(SCALARS), len(KIN) + len(SLOPES) + 1)))
    n = len(run.arrivals)
    found = fit(run.design, run.arrivals, run.observed, first=n, scheduler=run.scheduler, pool=nobody)
    x = [np.log(getattr(found.efficiency, name) / getattr(BEGUN, name)) for name in STEP_SCALARS]
    return _cell(run.design, np.array([*x, np.nan]), n, run.name)


def _cell(design: Design, x: Floats, n: int, source: str) -> Cell:
    return Cell(labels=labels_of(design), place=place_of(design), log=tuple(x.tolist()), n=n, source=source)


def of_rows(rows: Rows) -> list[Cell]:
    """Cells of all deployments that :func:`deployments` finds, but those that no scalars describe."""
    found = [of_loops(design, loops, source) for design, loops, source in deployments(rows)]
    return [cell for cell in found if cell is not None]


def deployments(rows: Rows) -> list[tuple[Design, Loops, str]]:
    """Closed loops of aggregated servers among published measurements, by deployment, with their source."""
    label, x = rows.label, rows.number
    tp = np.where(np.isfinite(x["tp"]), x["tp"], 1.0)
    keep = np.isin(label["kind"], ["serving_tpot", "serving_ttft"]) & (x["disagg"] == 0.0) & (x["dp"] == 0.0)
    keep &= (x["year"] >= SINCE) & (np.nan_to_num(x["batch"]) >= 1.0)
    keep &= np.array([_SEES.search(f"{s} {m}") is None for s, m in zip(label["scenario"], label["model"], strict=True)])
    keep &= (label["class"] != "apple") & (np.nan_to_num(x["pp"], nan=1.0) == 1.0)
    groups: dict[tuple[str, ...], dict[tuple[Any, ...], dict[str, int]]] = {}
    for i in np.flatnonzero(keep):
        shared = max(float(tp[i]), float(x["n"][i]))  # ranks that share experts share the layer
        names = (label["source"][i], label["family"][i], label["hardware"][i], label["model"][i], label["dtype"][i])
        run = tuple(float(x[k][i]) for k in ("batch", "n_in", "n_out", "ep"))
        loop = (*map(str, run), str(label["engine_version"][i]), str(label["date"][i]))
        group = groups.setdefault((*map(str, names), f"{shared:g}"), {})
        group.setdefault(loop, {}).setdefault(str(label["kind"][i]), int(i))
    found = []
    for (source, family, device, model, dtype, shared_by), runs in sorted(groups.items()):
        told = [kinds for kinds in runs.values() if "serving_tpot" in kinds]
        if len(told) < FEWEST:
            continue
        try:
            serving = Serving(engine=family, weights=dtype, tp=float(shared_by))
            design = Design(model=find.model(model), device=find.device(device), serving=serving)
        except ReckonerError:
            continue  # a name or a format that the catalogue does not have: nothing to learn a design from
        found.append((design, _loops(rows, told), source))
    return found


def _loops(rows: Rows, told: Sequence[Mapping[str, int]]) -> Loops:
    """Loops of rows, at most :data:`_MOST_LOOPS` of them, drawn with a seed."""
    drawn = np.random.default_rng(0).permutation(len(told))[:_MOST_LOOPS]
    chosen = [told[i] for i in sorted(drawn.tolist())]
    x, at = rows.number, np.array([kinds["serving_tpot"] for kinds in chosen])
    first = [x["measured"][kinds["serving_ttft"]] if "serving_ttft" in kinds else np.nan for kinds in chosen]
    scenario = str(rows.label["scenario"][at[0]])
    return Loops(
        clients=np.floor(x["batch"][at]),
        prompt=np.maximum(x["n_in"][at], 1.0),
        output=np.maximum(x["n_out"][at], 2.0),
        gap_s=x["measured"][at],
        first_s=np.array(first),
        least=_RANGED if is_ranged(scenario) else 1.0,
        by_mean=is_mean(scenario),
        guessed=str(rows.label["setting"][at[0]]) == _PROMPTS_GUESSED,
    )


def is_ranged(scenario: str) -> bool:
    """Whether lengths are drawn from 0.8 to 1 of the nominal: InferenceX's, and its runs in the silicon table."""
    return "range_ratio0.8" in scenario or "silicon" in scenario


def is_mean(scenario: str) -> bool:
    """Whether first tokens are means: the silicon table's are told better so than as medians (seen 2026-11-21)."""
    return "silicon" in scenario


def pooled(cells: Sequence[Cell]) -> Pool:
    """Learn how alike cells make each other: the spreads that make what was seen likeliest, by leaving kin out.

    Notes
    -----
    The likelihood is that of a Gaussian process, with a weak pull of every spread towards 0.2.
    """
    ordered = tuple(sorted(cells, key=lambda cell: (cell.source, cell.labels, cell.place)))
    spread = np.zeros((len(SCALARS), len(KIN) + len(SLOPES) + 1))
    for s in range(len(SCALARS)):
        told = [cell for cell in ordered if np.isfinite(cell.log[s])]
        seen = np.array([cell.log[s] for cell in told])

        def surprise(z: Floats, seen: Floats = seen, told: list[Cell] = told) -> float:
            widths = np.exp(np.clip(z, -6.0, 2.0))
            k = covariance(told, widths) + (widths[-1] ** 2 + 1e-6) * np.eye(len(told))
            log_det = float(np.linalg.slogdet(k)[1])
            fits = float(seen @ np.linalg.solve(k, seen))
            return 0.5 * fits + 0.5 * log_det + 0.25 * float(np.square(z - np.log(0.2)).sum())

        begin = np.full(len(KIN) + len(SLOPES) + 1, np.log(0.2))
        spread[s] = np.exp(minimise(surprise, minimise(surprise, begin, reach=0.7, steps=400), steps=400))
    return Pool(cells=ordered, spread=spread)


def open_rows(root: Path) -> Rows:
    """Gaps and first tokens of servers among the open rows of a ``validation`` folder."""
    raw = [*read_csv(root / "items.csv.gz"), *as_items(read_csv(root / "silicon.csv.gz"))]
    return build([row for row in raw if row["kind"] in ("serving_tpot", "serving_ttft") and row["measured"]])


def learn(folder: str | Path) -> Pool:
    """Learn from the open rows and runs of a ``validation`` folder."""
    root = Path(folder)
    runs = read_runs(root / "simulation" / "vllm_requests.csv")
    return pooled([*of_rows(open_rows(root)), *map(of_run, runs)])


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
