"""A run as a llm-d Benchmark Report 0.2.1, which tools of that project read beside their own.

Schema: llm-d/llm-d-benchmark @8bc9f1dd (2026-08). What a run does not say is left out, never made up; the schema
requires a mean of every statistic, so those with percentiles alone are left out as well.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np

from reckoner.errors import InputError
from reckoner.measure.importers.imported import Imported, Statistic

VERSION = "0.2.1"
_LAST = 253_402_300_799.0  # the year 9999 ends; no calendar goes further
_LATENCIES = {
    "ttft_s": ("time_to_first_token", "s"),
    "normalised_tpot_s": ("normalized_time_per_output_token", "s/token"),
    "tpot_s": ("time_per_output_token", "s/token"),
    "itl_s": ("inter_token_latency", "s/token"),
    "e2e_s": ("request_latency", "s"),
}
_LENGTHS = {"prompt_tokens": "input_length", "output_tokens": "output_length"}
_RATES = {
    "requests_per_s": ("request_rate", "queries/s"),
    "prompt_tokens_per_s": ("input_token_rate", "tokens/s"),
    "output_tokens_per_s": ("output_token_rate", "tokens/s"),
    "total_tokens_per_s": ("total_token_rate", "tokens/s"),
}
_QUANTILES = {
    0.001: "p0p1", 0.01: "p1", 0.05: "p5", 0.1: "p10", 0.25: "p25", 0.5: "p50", 0.75: "p75", 0.9: "p90", 0.95: "p95",
    0.99: "p99", 0.999: "p99p9",
}  # fmt: skip


def to_report(run: Imported) -> dict[str, Any]:
    """The report of one run, as JSON values.

    Raises
    ------
    InputError
        The run does not say how many requests it made, which the schema requires.
    """
    good = run.completed if run.completed is not None else len(run.succeeded)
    failed = run.failed if run.failed is not None else len(run.requests) - len(run.succeeded)
    if not good + failed:
        raise InputError(f"{run.name} does not say how many requests it made; a llm-d report needs their number")
    requests: dict[str, Any] = {"total": good + failed, "failures": failed}
    for metric, name in _LENGTHS.items():
        if (found := _statistics(run, metric, "count")) is not None:
            requests[name] = found
    latency = {
        name: found
        for metric, (name, units) in _LATENCIES.items()
        if (found := _statistics(run, metric, units)) is not None
    }
    rates = {
        name: {"units": units, "mean": run.rates[rate]} for rate, (name, units) in _RATES.items() if rate in run.rates
    }
    aggregate: dict[str, Any] = {"requests": requests}
    if latency:
        aggregate["latency"] = latency
    if rates:
        aggregate["throughput"] = rates
    report: dict[str, Any] = {
        "version": VERSION,
        "run": _run(run),
        "results": {"request_performance": {"aggregate": aggregate}},
    }
    load = _load(run)
    if load is not None:
        report["scenario"] = {"load": load}
    return report


def _run(run: Imported) -> dict[str, Any]:
    told: dict[str, Any] = {"uid": f"{run.digest[:32]}{'-' if run.run else ''}{run.run}" or run.name}
    told["description"] = f"{run.tool} result {run.name}, imported by reckoner"
    time: dict[str, str] = {}
    if run.began_at is not None and 1e9 < run.began_at < _LAST:  # a wall clock, not seconds since a start
        time["start"] = _moment(run.began_at)
        if run.duration_s is not None and run.began_at + run.duration_s < _LAST:
            time["end"] = _moment(run.began_at + run.duration_s)
    if run.duration_s is not None:
        time["duration"] = f"PT{run.duration_s}S"
    if time:
        told["time"] = time
    if run.model is not None:
        told["keywords"] = [run.model]
    return told


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _load(run: Imported) -> dict[str, Any] | None:
    """What was asked; None where prompt lengths are unknown, which the schema requires."""
    prompt = _length(run, "prompt_tokens")
    if prompt is None:
        return None
    asked: dict[str, Any] = {
        "tool": run.tool,
        "tool_version": run.version or "unknown",
        "source": "unknown",
        "input_seq_len": prompt,
    }
    if (output := _length(run, "output_tokens")) is not None:
        asked["output_seq_len"] = output
    rate = run.load.requests_per_s
    if rate is not None and math.isfinite(rate) and rate > 0:
        asked["rate_qps"] = rate
    if run.load.concurrency:
        asked["concurrency"] = run.load.concurrency
    return {"metadata": {}, "standardized": asked, "native": {}}


def _length(run: Imported, metric: str) -> dict[str, Any] | None:
    """Lengths that were measured: fixed where all are equal, of an unknown distribution otherwise."""
    values = run.values(metric)
    told = run.statistics.get(metric)
    if values.size:
        least, most, mean = int(values.min()), int(values.max()), float(values.mean())
        if least == most:
            return {"distribution": "fixed", "value": least}
        return {"distribution": "other", "value": mean, "min": least, "max": most, "std_dev": float(values.std())}
    if told is None or told.mean is None:
        return None
    return {"distribution": "other", "value": told.mean}


def _statistics(run: Imported, metric: str, units: str) -> dict[str, Any] | None:
    """Of the requests where they are there, else as stated."""
    values = run.values(metric)
    if values.size:
        found: dict[str, Any] = {"mean": float(values.mean()), "min": float(values.min()), "max": float(values.max())}
        found["stddev"] = float(values.std(ddof=1)) if values.size > 1 else None
        found |= {name: float(np.quantile(values, q)) for q, name in _QUANTILES.items()}
    else:
        told = run.statistics.get(metric)
        if told is None or told.mean is None:
            return None
        found = _stated(told)
    return {"units": units, **{name: value for name, value in found.items() if value is not None}}


def _stated(told: Statistic) -> dict[str, Any]:
    found: dict[str, Any] = {"mean": told.mean, "min": told.least, "max": told.most, "stddev": told.std}
    return found | {_QUANTILES[q]: value for q, value in told.percentiles if q in _QUANTILES}
