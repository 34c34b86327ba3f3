"""What is learned on one model transfers to another on the same device and engine: by how much, on public rows."""

from __future__ import annotations

import csv
import gzip
import io
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reckoner.calibrate.deployment import Calibration
from reckoner.catalogue.find import device, model
from reckoner.design import ENGINES, Design, Serving, Workload
from reckoner.errors import ReckonerError
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
        predict(design, workload, efficiency=Calibration().efficiency(design))
    except (ReckonerError, ValueError):
        return None
    return Row(kind, design, workload, float(raw["measured"]))


def _ask(row: Row, calibration: Calibration) -> Prediction:
    return predict(row.design, row.workload, efficiency=calibration.efficiency(row.design))


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


def transfer() -> tuple[dict[str, Any], str]:
    """Score a model's rows from the prior, from other models there, and from its own other rows; return the words."""
    ways = ("prior", "one", "others", "own")
    errors: dict[str, dict[str, list[float]]] = {kind: {way: [] for way in ways} for kind in METRIC}
    start = Calibration()
    for (kind, _, _), models in cells().items():
        scores: dict[str, list[float]] = {way: [] for way in ways}
        for name, rows in models.items():
            others = [other for other in models if other != name]
            test, train = rows[::2], rows[1::2]
            fullest = min(others, key=lambda o: (abs(len(models[o]) - MOST), o))
            some = [row for other in others for row in models[other][: max(1, 2 * MOST // len(others))]]
            learned = {
                "prior": start,
                "one": _learn(models[fullest], start),
                "others": _learn(some, start),
            }
            for way, calibration in learned.items():
                scores[way].append(statistics.median(_error(row, calibration) for row in test))
            if train:
                own = _learn(train, learned["others"])
                scores["own"].append(statistics.median(_error(row, own) for row in test))
        for way, values in scores.items():
            if values:
                errors[kind][way].append(statistics.fmean(values))
    figures = {
        kind: {"cells": len(by["prior"])} | {way: round(statistics.fmean(v), 4) for way, v in by.items() if v}
        for kind, by in errors.items()
        if by["prior"]
    }
    return figures, _words(figures)


def _words(figures: dict[str, Any]) -> str:
    lines = [
        "`Calibration.update(prediction, measurement)` learns how much of the printed limits a deployment gets: shares",
        "of bandwidth and of the peak, and fixed costs per step. Effects of the engine, of the engine on a device and",
        "of the model there are one Gaussian in logs, updated by an iterated extended Kalman filter, Student weighted.",
        "What is learned on one model therefore reaches another on the same device and engine. By how much, on the",
        "public rows of `validation/items.csv.gz`, starting from the prior that knows none of them: each model of a",
        "(device, engine) with several is predicted in turn, never having been learned from except in the last column.",
        "",
        "| quantity | devices x engines | prior % | one other model % | all other models % | and own rows % |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for kind, row in figures.items():
        cells_ = " | ".join(f"{100 * row[way]:.0f}" for way in ("prior", "one", "others", "own") if way in row)
        lines.append(f"| {TITLE[kind]} | {row['cells']} | {cells_} |")
    lines += [
        "",
        "Median absolute error of a model's rows, meant over models and then over devices x engines; every second row",
        "is scored, the others are what the last column learns from.",
    ]
    return "\n".join(lines) + "\n"
