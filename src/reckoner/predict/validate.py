"""The scoreboard: hold rows out in four ways, score them, and set the result beside the yardstick and the peers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.predict import fit, learned, networks, regress, scoreboard, yardstick
from reckoner.predict.rows import Column, Rows, number, read_csv
from reckoner.predict.splits import AXES

QUICK = {"alone": 3, "together": 1, "hashed": 1}
"""Folds of a quick run: the three largest levels alone, all others at once, one hash split."""
_GRADE_COLUMN = "quality"


def grades(folder: str | Path) -> dict[tuple[str, str], str]:
    """Quality grade (A score on it, B with care, C do not) of each source and kind."""
    out = {}
    for row in read_csv(Path(folder) / "source_quality.csv"):
        for part in row[_GRADE_COLUMN].split():
            kind, _, rest = part.partition(":")
            out[row["source"], kind] = rest[:1]
    return out


def excluded(folder: str | Path) -> list[dict[str, Any]]:
    """Rows that are not scored, counted with their reason."""
    root = Path(folder)
    runs = read_csv(root / "silicon.csv.gz")
    lacking = {name: sum(not number(r.get(f"silicon_{name}_ms")) > 0.0 for r in runs) for name in ("ttft", "tpot")}
    out = [
        {"file": "silicon.csv.gz", "rows": n, "reason": f"states no {name.upper()}"} for name, n in lacking.items() if n
    ]
    for name in ("items.csv.gz", "nn_items.csv.gz"):
        n = sum(not number(r.get("measured")) > 0.0 for r in read_csv(root / name))
        if n:
            out.append({"file": name, "rows": n, "reason": "measured is not a positive number"})
    return out


def thinned_out(every: Rows, kept: Rows) -> list[dict[str, Any]]:
    """Rows that were left out of the held-out scores, by source; they are scored in sample and fitted on."""
    before, after = (Counter(map(str, rows.label["source"])) for rows in (every, kept))
    reason = "repetitive source thinned by a seeded draw: not held out; scored in sample"
    return [{"file": source, "rows": n, "reason": reason} for source, n in sorted((before - after).items())]


def run(
    folder: str | Path, *, quick: bool = False, refit: bool = False, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Score items, runs and networks.

    Parameters
    ----------
    folder : path
        ``validation``, with the open rows.
    quick : bool
        Fewer folds.
    refit : bool
        Also learn the packaged prior anew, with interval widths from these folds, and write it.
    say : callable
        Told what is going on, a line at a time.

    Returns
    -------
    dict
        ``{"evidence", "items": {axis: ...}, "silicon", "networks", "worst", "excluded", "coverage"}``; plain numbers.
    """
    say("reading rows")
    every = fit.read_open(folder)
    marks = grades(folder)
    networks.build(read_csv(Path(folder) / "nn_items.csv.gz"))  # a file that cannot be read is said now, not later
    trial = fit.try_out(every, say, **(QUICK if quick else {}))
    rows, held = trial.task.rows, trial.held
    if refit:
        say("writing the prior")
        fit.write_prior(every, trial)
        fit.write_networks(Path(folder) / "nn_items.csv.gz")
    half = _half_widths(rows, held)
    scored = {axis: _scored(rows, held[axis], half[axis]) for axis in AXES}
    items: dict[str, Any] = {"in sample": _in_sample(every, marks)}
    for axis, found in scored.items():
        items[axis] = {
            "averaged": scoreboard.averaged(found, marks, fewest=5 if axis == "cell" else scoreboard.FEWEST),
            "kind": scoreboard.by(found, "kind"),
            "kind_source": scoreboard.by(found, "kind", "source"),
            "class": scoreboard.by(found, "class"),
            "format": scoreboard.by(found, "format"),
            "all": scoreboard.summary(found, np.ones(len(found.truth), dtype=bool)),
        }
    say("networks")
    chosen = np.flatnonzero(np.isfinite(held["model"].log))
    return {
        "evidence": learned.packaged().evidence | {"scored_rows": len(rows), "open_rows": len(every), "quick": quick},
        "items": items,
        "silicon": _silicon(rows, held, half),
        "networks": _networks(folder),
        "worst": scoreboard.worst(
            scored["model"], held["model"].new[chosen], [str(rows.label["item"][i]) for i in chosen]
        ),
        "excluded": [*excluded(folder), *thinned_out(every, rows)],
    }


def _half_widths(rows: Rows, held: Mapping[str, fit.HeldOut]) -> dict[str, Column]:
    """Half-widths of the held-out rows of all axes together, each calibrated without the row's source."""
    truth = np.log(rows.number["measured"])
    chosen = {axis: np.flatnonzero(np.isfinite(h.log)) for axis, h in held.items()}
    joined = [np.concatenate([rows.label[k][c] for c in chosen.values()]) for k in ("group", "source")]
    new = np.concatenate([held[a].new[c] for a, c in chosen.items()])
    error = np.concatenate([(held[a].log - truth)[c] for a, c in chosen.items()])
    widths = scoreboard.honest_half_widths(joined[0], joined[1], new, error)
    out, at = {}, 0
    for axis, index in chosen.items():
        out[axis] = np.full(len(rows), np.nan)
        out[axis][index] = widths[at : at + len(index)]
        at += len(index)
    return out


def _scored(rows: Rows, held: fit.HeldOut, half: Column) -> scoreboard.Scored:
    chosen = np.flatnonzero(np.isfinite(held.log))
    kept = rows.take(chosen)
    others = {"yardstick": held.yardstick[chosen], "effects_only": held.pooled[chosen]}
    truth = np.log(kept.number["measured"])
    return scoreboard.Scored(
        label=kept.label, truth=truth, log=held.log[chosen], half_width=half[chosen], others=others
    )


def _in_sample(rows: Rows, marks: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    found = learned.answer_rows(rows, learned.packaged())
    task = regress.problem(rows, learned.packaged().words)
    everything = np.arange(len(rows))
    simple = yardstick.fitted(rows, yardstick.bare(rows, task.base), everything, everything)
    truth = np.log(rows.number["measured"])
    scored = scoreboard.Scored(
        label=rows.label, truth=truth, log=found.log, half_width=found.half_width, others={"yardstick": simple}
    )
    return {"averaged": scoreboard.averaged(scored, marks), "kind": scoreboard.by(scored, "kind")}


def _silicon(rows: Rows, held: Mapping[str, fit.HeldOut], half: Mapping[str, Column]) -> dict[str, Any]:
    """Runs that aiconfigurator predicted too: ours while held out, theirs from the file."""
    label = rows.label
    runs = np.array([str(s).startswith("silicon") for s in label["source"]])
    whole = label["source"] == "silicon_agg"
    dense = label["attention"] == "dense"
    tpot, ttft = np.isin(label["kind"], ["serving_tpot", "serving_tpot_disagg"]), label["kind"] == "serving_ttft"
    peer, truth = np.log(rows.number["peer"]), np.log(rows.number["measured"])
    parts: dict[str, NDArray[np.bool_]] = {
        "aggregated TPOT": whole & tpot,
        "aggregated TPOT, dense": whole & tpot & dense,
        "aggregated TTFT": whole & ttft,
        "aggregated TTFT, dense": whole & ttft & dense,
        "disaggregated TPOT": runs & ~whole & tpot,
        "disaggregated TTFT": runs & ~whole & ttft,
    }
    out: dict[str, Any] = {}
    for axis, found in held.items():
        scored = scoreboard.Scored(
            label=label, truth=truth, log=found.log, half_width=half[axis], others={"aiconfigurator": peer}
        )
        seen = np.isfinite(found.log)
        out[axis] = {
            name: scoreboard.summary(scored, chosen & seen) for name, chosen in parts.items() if (chosen & seen).any()
        }
    return out


def _networks(folder: str | Path) -> dict[str, Any]:
    table = networks.build(read_csv(Path(folder) / "nn_items.csv.gz"))
    words, found = networks.packaged_fit()
    truth = np.log(table.measured)
    held = {axis: networks.hold_out(table, words, found, axis) for axis in AXES}
    kinds, sources = (np.concatenate([table.label[k]] * len(held)) for k in ("kind", "source"))
    new = np.concatenate([n for _, n in held.values()])
    error = np.concatenate([log - truth for log, _ in held.values()])
    widths = np.split(scoreboard.honest_half_widths(kinds, sources, new, error), len(held))
    out = {}
    for (axis, (log, _)), half in zip(held.items(), widths, strict=True):
        scored = scoreboard.Scored(label=table.label, truth=truth, log=log, half_width=half, others={})
        out[axis] = scoreboard.by(scored, "kind", "source")
    return out
