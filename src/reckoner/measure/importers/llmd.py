"""llm-d Benchmark Report 0.1 and 0.2: statistics of a run in one form, whichever tool it came from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reckoner.measure.importers.fields import FieldError, Node, count, number, text
from reckoner.measure.importers.imported import Imported, Load, Statistic

_STATISTICS = {
    "ttft_s": "time_to_first_token",
    "tpot_s": "time_per_output_token",
    "itl_s": "inter_token_latency",
    "e2e_s": "request_latency",
    "normalised_tpot_s": "normalized_time_per_output_token",
}
_LENGTHS = {"prompt_tokens": "input_length", "output_tokens": "output_length"}
_RATES = {
    "requests_per_s": "request_rate",
    "prompt_tokens_per_s": "input_token_rate",
    "output_tokens_per_s": "output_token_rate",
    "total_tokens_per_s": "total_token_rate",
}
_SECONDS = {"s": 1.0, "ms": 1e-3, "s/token": 1.0, "ms/token": 1e-3}
_QUANTILES = {"p0p1": 0.001, "p99p9": 0.999}


def is_report(told: Node) -> bool:
    """A report: a version, a run and its results."""
    return told.has("version", "run", "results")


def read_report(documents: Sequence[Node]) -> list[Imported]:
    """One run a document."""
    return [_run(told) for told in documents]


def _run(told: Node) -> Imported:
    whole = told.get("results", "request_performance", "aggregate")
    if whole is None:
        raise FieldError(f"{told.path}.results.request_performance.aggregate is missing; there is nothing to read")
    total, failed = count(whole.get("requests", "total")), count(whole.get("requests", "failures"))
    good = None if total is None else total - (failed or 0) - (count(whole.get("requests", "incomplete")) or 0)
    statistics = {}
    for part, names in (("latency", _STATISTICS), ("requests", _LENGTHS)):
        for metric, key in names.items():
            block = whole.get(part, key)
            if block is not None:
                statistics[metric] = _statistic(block, key, metric, good)
    load = told.get("scenario", "load", "standardized")
    engine = _engine(told)
    return Imported(
        tool="llm-d-benchmark",
        version=str(told["version"].value),
        run=text(told.get("run", "uid")) or "",
        model=text(engine.get("model", "name")) if engine is not None else None,
        device=text(engine.get("accelerator", "model")) if engine is not None else None,
        engine=text(engine.get("tool")) if engine is not None else None,
        load=Load() if load is None else _load(load, total),
        statistics=statistics,
        rates={name: one.number() for name, key in _RATES.items() if (one := whole.get("throughput", key, "mean"))},
        completed=good,
        failed=failed,
    )


def _load(load: Node, total: int | None) -> Load:
    at_once = load.get("concurrency")
    endless = at_once is not None and at_once.value == math.inf  # open loop: nothing bounds requests under way
    return Load(
        requests_per_s=number(load.get("rate_qps")),
        concurrency=None if endless else count(at_once),
        requests=total,
    )


def _engine(told: Node) -> Node | None:
    stack = told.get("scenario", "stack")
    for one in stack.items() if stack is not None else ():
        found = one.get("standardized")
        if found is not None and text(found.get("kind")) == "inference_engine":
            return found
    return None


def _statistic(block: Node, key: str, metric: str, n: int | None) -> Statistic:
    unit = text(block.get("units"))
    if metric.endswith("_s") and unit not in _SECONDS:
        raise FieldError(f"{block.path}.units is {unit!r}; units of time known are {', '.join(_SECONDS)}")
    scale = _SECONDS[unit or ""] if metric.endswith("_s") else 1.0
    percentiles = {
        _QUANTILES.get(name) or float(name[1:]) / 100: node.number(scale)
        for name, node in block.fields()
        if (name in _QUANTILES or (name[:1] == "p" and name[1:].isdigit())) and node.value is not None
    }
    return Statistic(
        stated_as=key,
        n=None if metric == "itl_s" else n,
        mean=number(block.get("mean"), scale),
        std=number(block.get("stddev"), scale),
        least=number(block.get("min"), scale),
        most=number(block.get("max"), scale),
        percentiles=tuple(sorted(percentiles.items())),
    )
