"""Imported runs beside what would have been predicted for them, committed to the ledger in that order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from reckoner.catalogue import find
from reckoner.design import Design, Serving, Workload
from reckoner.errors import InputError
from reckoner.ledger import Figure, Ledger
from reckoner.measure.gap import Compared
from reckoner.measure.importers.imported import Imported
from reckoner.measure.statistics import mean_of, student
from reckoner.predict.prediction import predict

LEVEL = 0.9
SEATS = 256
"""Sequences that a server works on at once where the file bounds them in no other way. Assumption: vLLM's default
``max_num_seqs`` of its V1 engine on most devices (2025)."""
PREDICTOR = "physics"
_METRICS = ("ttft_s", "tpot_s", "e2e_s", "output_tokens_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A run, its prediction, and where both lie in the ledger.

    Attributes
    ----------
    subject : str
        Under which both are kept.
    batch : float
        Sequences at once that the prediction took.
    assumed : str
        What the file does not say and was assumed; empty where nothing was.
    """

    run: Imported
    design: Design
    workload: Workload
    batch: float
    assumed: str
    rows: tuple[Compared, ...]
    subject: str
    prediction: str
    observation: str

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        rows = [{name: getattr(row, name) for name in (*Compared.__slots__, "ratio", "inside")} for row in self.rows]
        return {
            "run": self.run.name,
            "subject": self.subject,
            "model": self.design.model.name,
            "device": self.design.device.name,
            "batch": self.batch,
            "assumed": self.assumed,
            "level": LEVEL,
            "prediction": self.prediction,
            "observation": self.observation,
            "metrics": rows,
        }


def beside(
    ledger: Ledger, run: Imported, *, model: str | None = None, device: str | None = None, serving: dict[str, Any]
) -> Beside:
    """Predict a run from what was asked of it, commit that, and then what was measured.

    The prediction sees the load and the token counts, never a latency or a rate of the run.

    Parameters
    ----------
    ledger : Ledger
        Where both are kept.
    run : Imported
        What was measured.
    model, device : str, optional
        Names; by default those that the file states.
    serving : dict
        Fields of :class:`~reckoner.design.Serving` that are known; ``batch`` overrides the file's load.

    Raises
    ------
    InputError
        The model, the device or token counts are unknown, or the run is in the ledger already.
    """
    names = {"model": model or run.model, "device": device or run.device}
    for what, name in names.items():
        if name is None:
            raise InputError(f"{run.name} names no {what}; give one with --{what}")
    subject = f"{run.digest[:12]}/{run.run}" if run.run else run.digest[:12]
    if any(ledger.entries(subject=subject, newest=1)):
        raise InputError(f"{run.name} is in the ledger already as {subject}; nothing was recorded twice")
    workload, batch, assumed = _asked(run, serving.get("batch"))
    design = Design(
        model=find.model(str(names["model"])),
        device=find.device(str(names["device"])),
        serving=Serving(**{**serving, "batch": batch}),
    )
    expected = predict(design, workload).require_fit()
    rows = []
    for metric in _METRICS[: 3 if run.load.open_loop else None]:  # of open arrivals the rate is given, not predicted
        told = _measured(run, metric)
        value = float(getattr(expected, metric))
        if told is None or not math.isfinite(value):
            continue
        low, high = (float(end) for end in expected.interval(metric, LEVEL))
        rows.append(
            Compared(
                metric=metric,
                unit="1/s" if metric.endswith("_per_s") else "s",
                predicted=value,
                predicted_low=low,
                predicted_high=high,
                measured=told[0],
                measured_low=told[1],
                measured_high=told[2],
            )
        )
    if not rows:
        raise InputError(f"{run.name} states no latency and no rate that could be predicted")
    inputs = {
        "model": design.model.name,
        "device": design.device.name,
        "engine": design.engine,
        "batch": batch,
        "prompt_tokens": float(workload.prompt_tokens),
        "output_tokens": float(workload.output_tokens),
        "source": run.source,
        "tool": run.tool,
    }
    figures = {row.metric: Figure(value=row.predicted, low=row.predicted_low, high=row.predicted_high) for row in rows}
    made = ledger.predict(subject, PREDICTOR, figures, level=LEVEL, inputs=inputs)
    seen = ledger.observe(subject, {row.metric: row.measured for row in rows}, inputs=inputs)
    return Beside(
        run=run,
        design=design,
        workload=workload,
        batch=batch,
        assumed=assumed,
        rows=tuple(rows),
        subject=subject,
        prediction=str(made),
        observation=str(seen),
    )


def _asked(run: Imported, given: float | None) -> tuple[Workload, float, str]:
    """Workload and sequences at once, from what was asked; and what had to be assumed."""
    lengths = {name: run.mean(name) for name in ("prompt_tokens", "output_tokens")}
    for name, mean in lengths.items():
        if mean is None or mean <= 0:
            raise InputError(f"{run.name} does not say how many {name.replace('_', ' ')} its requests have")
    rate = run.load.requests_per_s
    open_loop = {"requests_per_s": rate} if rate is not None and math.isfinite(rate) else {}
    workload = Workload(**{name: float(mean or 0) for name, mean in lengths.items()}, **open_loop)
    if given is not None:
        return workload, float(given), ""
    if run.load.concurrency is not None:
        return workload, float(run.load.concurrency), ""
    if open_loop:
        return workload, float(SEATS), f"at most {SEATS} sequences at once"
    known = run.load.requests or run.completed or SEATS
    return workload, float(min(known, SEATS)), f"all requests at once, at most {SEATS}"


def _measured(run: Imported, metric: str) -> tuple[float, float | None, float | None] | None:
    """Mean and its interval: of batches where requests are known, of stated spread otherwise; None where unstated."""
    if metric in ("output_tokens_per_s", "requests_per_s"):
        return (run.rates[metric], None, None) if run.rates.get(metric) else None
    values = run.values(metric)
    if values.size:
        told = mean_of(values, LEVEL)
        return told.value, told.low, told.high
    stated = run.statistics.get(metric)
    if stated is None or stated.mean is None or stated.mean <= 0:
        return None
    if stated.std is None or stated.n is None or stated.n < 5 or stated.weighted:
        return stated.mean, None, None
    reach = student(stated.n - 1, LEVEL) * stated.std / math.sqrt(stated.n)
    return stated.mean, max(stated.mean - reach, 0.0), stated.mean + reach
