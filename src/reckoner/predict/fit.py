"""Learn the prior from the open measurements under ``validation/``: ``python -m reckoner.predict.fit [validation]``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reckoner.predict import effects, intervals, kriging, learned, networks, regress, yardstick
from reckoner.predict.quantities import log_quantity
from reckoner.predict.rows import Column, Rows, build, read_csv
from reckoner.predict.silicon import as_items
from reckoner.predict.splits import AXES, folds

SEED = 20261120
DATED = "2026-11-21"
DATA = Path(__file__).parent / "data"
_FOLD_STEPS = 3
_FOLD_BLOCK = 900  # rows of a block of the smoother while cross-validating; the packaged one keeps more
_KEEP = {"strix_halo_lhl": 0.25, "inferencex": 0.5, "silicon_agg": 0.5, "silicon_disagg": 0.5}
_KEEP_ARGONNE = 0.5

CAUTION: Mapping[str, float] = {
    "weights": 4.0,
    "kv": 8.0,
    "decode_flops": 4.0,
    "prefill_flops": 4.0,
    "layers": 6.0,
    "prefill_layers": 6.0,
    "served_flops": 4.0,
    "served_layers": 6.0,
    "link": 10.0,
    "whole": 8.0,
    "queue": 8.0,
    "burst": 20.0,
    "power": 3.0,
    "state": 30.0,
    "cache": 4.0,
    "context": 6.0,
    "workspace": 2.0,
}
"""How many times tighter each effect's pools are than the spread of their levels suggests, chosen by leaving models,
devices and sources out: what fits the seen is not what carries to the unseen; the smoother gives the seen back."""
DEVICE_CAUTION = 12.0
"""The same for deviations of single devices, on top: a new device is placed by its properties and generation."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Predictions of rows while they were held out; NaN where they never were."""

    log: Column
    pooled: Column
    yardstick: Column
    explained: Column
    new: NDArray[np.int64]


def read_open(folder: str | Path) -> Rows:
    """Read the open items and runs of a ``validation`` folder."""
    root = Path(folder)
    runs = [row for row in as_items(read_csv(root / "silicon.csv.gz")) if row["measured"]]
    return build([*read_csv(root / "items.csv.gz"), *runs])


def thinned(rows: Rows, seed: int = SEED) -> Rows:
    """Fewer rows of the sources that repeat themselves most, for cross-validation."""
    draw = np.random.default_rng(seed).random(len(rows))
    share = dict(_KEEP, argonne_llm_inference_bench=_KEEP_ARGONNE)
    keep = np.array([share.get(source, 1.0) for source in rows.label["source"]])
    return rows.take(np.flatnonzero(draw < keep))


def cautious(words: effects.Vocabulary, precision: Column) -> Column:
    """Tighten the learned prior for what must carry over to the unseen."""
    out = precision.copy()
    for (effect, name), levels in words.levels.items():
        if name != "1" and levels:
            factor = CAUTION[effect] * (DEVICE_CAUTION if "hardware" in name else 1.0)
            out[list(levels.values())] *= factor
    return out


def learn_effects(task: regress.Problem) -> regress.Fit:
    """Fit the pooled effects: learn the spread of each pool, tighten it, fit again."""
    free = regress.fit(task, regress.first_guess(task.words), learn=True)
    precision = cautious(task.words, free.precision)
    return regress.fit(task, precision, start=free.coefficients, steps=5)


def hold_out(task: regress.Problem, start: regress.Fit, axis: str, **how: int) -> HeldOut:
    """Fit without each fold of ``axis`` and predict it, with effects alone and with the smoother."""
    n = len(task.rows)
    log, pooled, simple = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    seen, new = np.zeros(n), np.zeros(n, dtype=np.int64)
    bound = yardstick.bare(task.rows, task.base)
    target = np.log(task.rows.number["measured"])
    where = kriging.points(task.rows, task.base)
    for fold in folds(task.rows, axis, **how):
        rest = np.setdiff1d(np.arange(n), fold)
        found = regress.fit(task, start.precision, start=start.coefficients, steps=_FOLD_STEPS, only=rest)
        every = log_quantity(task.rows, task.base, effects.apply(task.laid, found.coefficients, n))
        asked = where.take(fold)
        smoother = kriging.learn(
            where.take(rest), (target - every)[rest], seed=SEED, largest=_FOLD_BLOCK, blocks=set(asked.block)
        )
        mean, explained = kriging.smooth(smoother, asked)
        pooled[fold] = every[fold]
        simple[fold] = yardstick.fitted(task.rows, bound, rest, fold)
        log[fold] = every[fold] + mean
        seen[fold] = explained
        new[fold] = intervals.novelty(task.rows.take(fold), intervals.Known.of(task.rows.take(rest)), explained)
    return HeldOut(log, pooled, simple, seen, new)


def calibrated(task: regress.Problem, held: Mapping[str, HeldOut]) -> intervals.Bands:
    """Interval widths from all axes of holding out together."""
    rows = task.rows
    target = np.log(rows.number["measured"])
    chosen = [np.flatnonzero(np.isfinite(h.log)) for h in held.values()]
    return intervals.calibrate(
        np.concatenate([rows.label["group"][c] for c in chosen]),
        np.concatenate([rows.label["source"][c] for c in chosen]),
        np.concatenate([h.new[c] for h, c in zip(held.values(), chosen, strict=True)]),
        np.concatenate([(h.log - target)[c] for h, c in zip(held.values(), chosen, strict=True)]),
    )


def learn_items(rows: Rows, bands: intervals.Bands) -> tuple[learned.Learned, NDArray[np.float64], NDArray[np.int64]]:
    """Fit on all rows; returns the prior, the standard deviation of each coefficient and the rows behind it."""
    task = regress.problem(rows)
    found = learn_effects(task)
    residual = np.log(rows.number["measured"]) - log_quantity(
        rows, task.base, effects.apply(task.laid, found.coefficients, len(rows))
    )
    smoother = kriging.learn(kriging.points(rows, task.base), residual, seed=SEED)
    counts = np.zeros(task.words.size, dtype=np.int64)
    for part in task.laid:
        counts += np.bincount(part.index[part.index >= 0], minlength=task.words.size)
    evidence = {
        "dated": DATED,
        "rows": len(rows),
        "sources": sorted(set(map(str, rows.label["source"]))),
        "seed": SEED,
        "command": "python -m reckoner.predict.fit validation",
    }
    known = intervals.Known.of(rows)
    prior = learned.Learned(task.words, found.coefficients, known, smoother, bands, evidence)
    return prior, 1.0 / np.sqrt(found.precision), counts


@dataclass(frozen=True, slots=True)
class Trial:
    """Thinned rows, their fit, and their predictions while held out in each way."""

    task: regress.Problem
    start: regress.Fit
    held: Mapping[str, HeldOut]


def try_out(rows: Rows, say: Callable[[str], None], **how: int) -> Trial:
    """Fit thinned rows and hold them out in every way of :data:`reckoner.predict.splits.AXES`."""
    task = regress.problem(thinned(rows))
    say(f"fitting {task.words.size} effects on {len(task.rows)} of {len(rows)} rows")
    start = learn_effects(task)
    held = {}
    for axis in AXES:
        say(f"holding out by {axis}")
        held[axis] = hold_out(task, start, axis, **how)
    return Trial(task, start, held)


def write_prior(rows: Rows, trial: Trial, folder: Path = DATA) -> None:
    """Fit all rows, calibrate the intervals on the trial, and write both."""
    prior, sd, counts = learn_items(rows, calibrated(trial.task, trial.held))
    learned.save(prior, folder, sd, counts)
    learned.packaged.cache_clear()


def write_networks(path: str | Path, folder: Path = DATA) -> None:
    """Fit the networks, hold them out by hash, model, device and source, and write what was learned."""
    table = networks.build(read_csv(path))
    words = networks.vocabulary(table)
    found = networks.fit(table, words)
    held = [networks.hold_out(table, words, found, axis) for axis in AXES]
    label, truth = table.label, np.log(table.measured)
    bands = intervals.calibrate(
        np.concatenate([label["kind"]] * len(held)),
        np.concatenate([label["source"]] * len(held)),
        np.concatenate([new for _, new in held]),
        np.concatenate([log - truth for log, _ in held]),
    )
    evidence = {"dated": DATED, "rows": len(table), "sources": sorted(set(map(str, label["source"]))), "seed": SEED}
    networks.save(folder, words, found, bands, evidence)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main(arguments: Sequence[str]) -> int:
    """Learn everything and write it into the package's data folder."""
    folder = Path(arguments[0] if arguments else "validation")
    rows = read_open(folder)
    write_prior(rows, try_out(rows, _tell))
    write_networks(folder / "nn_items.csv.gz")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
