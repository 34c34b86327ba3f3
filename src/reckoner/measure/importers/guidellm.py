"""GuideLLM reports (0.2 to 0.8, report versions 1 and 2): several benchmarks a file, each with or without its requests.

Its ``time_per_output_token`` is the whole latency over all tokens, first one included; what others call TPOT is its
``inter_token_latency``, one mean a request, and its statistics weigh it by tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reckoner.measure.importers.fields import Node, count, number, quantiles, text
from reckoner.measure.importers.imported import Imported, Load, Request, Statistic

_STATISTICS = {
    "ttft_s": ("time_to_first_token_ms", 1e-3),
    "tpot_s": ("inter_token_latency_ms", 1e-3),
    "normalised_tpot_s": ("time_per_output_token_ms", 1e-3),
    "e2e_s": ("request_latency", 1.0),
    "prompt_tokens": ("prompt_token_count", 1.0),
    "output_tokens": ("output_token_count", 1.0),
}
_RATES = {
    "requests_per_s": "requests_per_second",
    "prompt_tokens_per_s": "prompt_tokens_per_second",
    "output_tokens_per_s": "output_tokens_per_second",
    "total_tokens_per_s": "tokens_per_second",
}
_QUANTILES = {"p001": 0.001, "p01": 0.01, "p05": 0.05, "p999": 0.999}


def is_guidellm(told: Node) -> bool:
    """A report: benchmarks, and who made them."""
    return told.has("benchmarks") and (told.has("metadata") or told.has("args"))


def read_guidellm(documents: Sequence[Node]) -> list[Imported]:
    """One run a benchmark."""
    found = []
    for told in documents:
        benchmarks = told["benchmarks"].items()
        for index, bench in enumerate(benchmarks, 1):
            load, how = _load(bench)
            found.append(
                Imported(
                    tool="guidellm",
                    version=text(told.get("metadata", "guidellm_version")),
                    run=f"benchmark {index} of {len(benchmarks)}, {how}" if len(benchmarks) > 1 else how,
                    model=_model(told, bench),
                    load=load,
                    requests=_requests(bench),
                    statistics=_statistics(bench),
                    rates=_rates(bench),
                    duration_s=number(bench.get("duration")),
                    completed=count(bench.get("metrics", "request_totals", "successful")),
                    failed=count(bench.get("metrics", "request_totals", "errored")),
                    began_at=number(bench.get("start_time")),
                )
            )
    return found


def _model(told: Node, bench: Node) -> str | None:
    places = (
        bench.get("config", "backend", "model"),
        bench.get("config", "backend", "target_model"),
        bench.get("benchmarker", "backend", "model"),
        bench.get("worker", "backend_model"),
        told.get("config", "spec", "backend", "model"),
        told.get("args", "model"),
    )
    return next((said for place in places if (said := text(place)) is not None), None)


def _load(bench: Node) -> tuple[Load, str]:
    """What was asked, and the same in words."""
    strategy = bench.get("config", "strategy") or bench.get("scheduler", "strategy") or bench.get("args", "strategy")
    asked = count(bench.get("config", "constraints", "max_requests", "args", "count"))
    kind = None if strategy is None else text(strategy.first("type_", "kind"))
    if strategy is None or kind is None:
        return Load(requests=asked), ""
    if kind in ("constant", "poisson", "async"):
        rate = number(strategy.get("rate"))
        return Load(requests_per_s=rate, requests=asked), f"{kind} {'' if rate is None else f'{rate:g} requests/s'}"
    if kind == "throughput":
        at_once = count(strategy.get("max_concurrency"))
        return Load(requests_per_s=math.inf, concurrency=at_once, requests=asked), kind
    if kind == "synchronous":
        return Load(concurrency=1, requests=asked), kind
    streams = count(strategy.get("streams"))
    return Load(concurrency=streams, requests=asked), kind if streams is None else f"{kind} {streams}"


def _requests(bench: Node) -> tuple[Request, ...]:
    found = []
    for status in ("successful", "errored", "incomplete"):
        told = bench.get("requests", status)
        for one in told.items() if told is not None else ():
            failed = status != "successful"
            found.append(
                Request(
                    id=text(one.get("request_id")),
                    prompt_tokens=count(one.get("prompt_tokens")),
                    output_tokens=count(one.get("output_tokens")),
                    start_s=number(one.first("request_start_time", "start_time")),
                    ttft_s=None if failed else number(one.get("time_to_first_token_ms"), 1e-3),
                    e2e_s=None if failed else number(one.get("request_latency")),
                    tpot_s=None if failed else number(one.get("inter_token_latency_ms"), 1e-3),
                    error=(text(one.get("info", "error")) or status) if failed else None,
                )
            )
    return tuple(sorted(found, key=lambda one: one.start_s or 0.0))


def _statistics(bench: Node) -> dict[str, Statistic]:
    found = {}
    for metric, (key, scale) in _STATISTICS.items():
        told = bench.get("metrics", key, "successful")
        if told is None or not count(told.get("count")):
            continue
        percentiles = quantiles(number(told.get("median"), scale))
        for name, node in told["percentiles"].fields() if told.get("percentiles") else ():
            if node.value is not None and name[1:].isdigit():
                percentiles[_QUANTILES.get(name, float(name[1:]) / 100)] = node.number(scale)
        weighted = metric in ("tpot_s", "normalised_tpot_s")
        found[metric] = Statistic(
            stated_as=key,
            n=count(bench.get("metrics", "request_totals", "successful")) if weighted else count(told.get("count")),
            mean=number(told.get("mean"), scale),
            std=number(told.get("std_dev"), scale),
            least=number(told.get("min"), scale),
            most=number(told.get("max"), scale),
            percentiles=tuple(sorted(percentiles.items())),
            weighted=weighted,
        )
    return found


def _rates(bench: Node) -> dict[str, float]:
    found = {name: number(bench.get("metrics", key, "successful", "mean")) for name, key in _RATES.items()}
    return {name: value for name, value in found.items() if value is not None}
