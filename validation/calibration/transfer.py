"""What is learned on one model transfers to another on the same device and engine: by how much, on public rows.

The prior that ships has seen these rows. So it is fitted anew without each lot of models, and a model is only ever
forecast by a prior that has not seen it.
"""

from __future__ import annotations

import csv
import gzip
import io
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from reckoner.calibrate.deployment import Calibration
from reckoner.catalogue.find import device, model
from reckoner.design import ENGINES, Design, Serving, Workload
from reckoner.errors import ReckonerError
from reckoner.predict import deployment, fit, regress
from reckoner.predict.efficiency import PRIOR
from reckoner.predict.prediction import Prediction, predict

ITEMS = Path(__file__).parent.parent / "items.csv.gz"
METRIC = {"decode_b1": "tpot_s", "prefill_b1": "ttft_s", "serving_tpot": "tpot_s", "e2e_static": "e2e_s"}
TITLE = {
    "decode_b1": "decode, one stream",
    "prefill_b1": "prefill, one stream",
    "serving_tpot": "gap between tokens, serving",
    "e2e_static": "whole static batch",
}
FORMATS = {
    "fp16": "fp16", "bf16": "bf16", "16bit(inferred)": "fp16", "fp8": "fp8", "int8": "int8", "int4": "int4",
    "fp4": "fp4",
}  # fmt: skip
_NO = {"", "0", "0.0", "False", "false", "none"}
MOST = 12
"""Rows of a model that are used, evenly spread over the file: more change little and take long."""


class Row(NamedTuple):
    """A public measurement and the question that it answers."""

    kind: str
    design: Design
    workload: Workload
    measured: float


def _row(raw: Mapping[str, str]) -> Row | None:
    kind, form = raw["kind"], FORMATS.get(raw["dtype"])
    engine = raw["engine"].lower().split("/")[0].replace("hf-transformers", "transformers")
    engine = "tensorrt-llm" if engine == "trt" else engine
    if kind not in METRIC or form is None or engine not in ENGINES or not {raw["spec_decode"], raw["disagg"]} <= _NO:
        return None
    try:
        serving = Serving(
            weights=form,
            batch=float(raw["batch"] or 1),
            scheduler="static" if kind == "e2e_static" else "continuous",
            tp=float(raw["tp"] or raw["n"] or 1),
            pp=float(raw["pp"] or 1),
            ep=float(raw["ep"] or 1),
            engine=engine,
        )
        design = Design(model=model(raw["model"]), device=device(raw["hardware"]), serving=serving)
        workload = Workload(prompt_tokens=float(raw["n_in"]), output_tokens=float(raw["n_out"] or 1))
        predict(design, workload, efficiency=PRIOR)
    except (ReckonerError, ValueError):
        return None
    return Row(kind, design, workload, float(raw["measured"]))


def _ask(row: Row, calibration: Calibration) -> Prediction:
    return predict(row.design, row.workload, efficiency=calibration.efficiency(row.design, row.workload))


def _error(row: Row, calibration: Calibration) -> float:
    return abs(getattr(_ask(row, calibration), METRIC[row.kind]) - row.measured) / row.measured


def _learn(rows: list[Row], calibration: Calibration) -> Calibration:
    for row in rows:
        calibration = calibration.update(_ask(row, calibration), {METRIC[row.kind]: row.measured})
    return calibration


def cells() -> dict[tuple[str, str, str], dict[str, list[Row]]]:
    """Rows by (kind, device, engine) and model, where at least two models were measured."""
    found: dict[tuple[str, str, str], dict[str, list[Row]]] = {}
    for raw in csv.DictReader(io.StringIO(gzip.decompress(ITEMS.read_bytes()).decode())):
        row = _row(raw)
        if row is not None:
            key = row.kind, row.design.device.name, row.design.serving.engine
            found.setdefault(key, {}).setdefault(row.design.model.name, []).append(row)
    several = {key: models for key, models in sorted(found.items()) if len(models) > 1}
    return {
        key: {name: [rows[i * len(rows) // MOST] for i in range(MOST)] if len(rows) > MOST else rows
              for name, rows in sorted(models.items())}
        for key, models in several.items()
    }  # fmt: skip


LOTS = 8
"""Priors fitted anew, each without an eighth of the models."""


@contextmanager
def _unseen(task: regress.Problem, start: regress.Fit, lot: set[str]) -> Iterator[None]:
    """Let predictions come from a prior that has not seen the models of a lot."""
    seen = np.flatnonzero(~np.isin(task.rows.label["model"].astype(str), sorted(lot)))
    found = regress.fit(task, start.precision, start=start.coefficients, steps=8, only=seen)
    _, _, document = deployment._data()
    with patch.object(deployment, "_data", lambda: (task.words, found.coefficients.tolist(), document)):
        yield


WAYS = ("assumed", "prior", "one", "others", "own")


def transfer() -> tuple[dict[str, Any], str]:
    """Score a model's rows from the prior, from other models there, and from its own other rows; return the words."""
    task = regress.problem(fit.thinned(fit.read_open(ITEMS.parent)))
    start = fit.learn_effects(task)
    found = cells()
    names = sorted({name for models in found.values() for name in models})
    errors: dict[str, dict[tuple[str, str], dict[str, list[float]]]] = {kind: {} for kind in METRIC}
    for lot in range(LOTS):
        chosen = set(names[lot::LOTS])
        with _unseen(task, start, chosen):
            for (kind, on, engine), models in cells().items():  # made anew: what was learned is kept with a design
                scores = errors[kind].setdefault((on, engine), {way: [] for way in WAYS})
                for name in sorted(chosen & models.keys()):
                    for way, error in _scores(name, models).items():
                        scores[way].append(error)
    figures: dict[str, Any] = {}
    for kind, by in errors.items():
        whole = [cell for cell in by.values() if cell["prior"]]
        if whole:
            figures[kind] = {"cells": len(whole), "models": sum(len(cell["prior"]) for cell in whole)} | {
                way: round(statistics.fmean(statistics.fmean(cell[way]) for cell in whole if cell[way]), 4)
                for way in WAYS
                if any(cell[way] for cell in whole)
            }
    return figures, _words(figures)


def _scores(name: str, models: Mapping[str, list[Row]]) -> dict[str, float]:
    """Median errors of a model's rows, by what was learned before."""
    others = [other for other in models if other != name]
    test, train = models[name][::2], models[name][1::2]
    fullest = min(others, key=lambda o: (abs(len(models[o]) - MOST), o))
    some = [row for other in others for row in models[other][: max(1, 2 * MOST // len(others))]]
    learned = {
        "assumed": Calibration(base=PRIOR),
        "prior": Calibration(),
        "one": _learn(models[fullest], Calibration()),
        "others": _learn(some, Calibration()),
    }
    if train:
        learned["own"] = _learn(train, learned["others"])
    return {way: statistics.median(_error(row, told) for row in test) for way, told in learned.items()}


def _words(figures: dict[str, Any]) -> str:
    lines = [
        "`Calibration.update(prediction, measurement)` learns how much of the printed limits a deployment gets: shares",
        "of bandwidth and of the peak, and fixed costs per step. Effects of the engine, of the engine on a device and",
        "of the model there are one Gaussian in logs, updated by an iterated extended Kalman filter, Student weighted.",
        "What is learned on one model therefore reaches another on the same device and engine. It starts from what",
        "`predict` has learned of that device, engine and number format. By how much each helps, on the public rows of",
        "`validation/items.csv.gz`: each model of a (device, engine) with several is predicted by a prior that was",
        "fitted without it, and was never learned from except in the last column.",
        "",
        "| quantity | devices x engines | models | assumed efficiencies % | learned prior % | and one other model % | "
        "and all other models % | and own rows % |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for kind, row in figures.items():
        cells_ = " | ".join(f"{100 * row[way]:.0f}" if way in row else "" for way in WAYS)
        lines.append(f"| {TITLE[kind]} | {row['cells']} | {row['models']} | {cells_} |")
    lines += [
        "",
        "Median absolute error of a model's rows, meant over models and then over devices x engines; every second row",
        "is scored, the others are what the last column learns from.",
    ]
    return "\n".join(lines) + "\n"
