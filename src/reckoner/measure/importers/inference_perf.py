"""inference-perf (2025 and 2026): lifecycle metrics of a stage or of all, Prometheus summaries, and requests.

A stage states the rate that was asked; the summary over all stages mixes loads and states none.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from reckoner.measure.importers.fields import FieldError, Node, count, number, quantiles, text
from reckoner.measure.importers.imported import Imported, Load, Request, Statistic

_STATISTICS = {
    "ttft_s": "time_to_first_token",
    "tpot_s": "time_per_output_token",
    "itl_s": "inter_token_latency",
    "e2e_s": "request_latency",
    "normalised_tpot_s": "normalized_time_per_output_token",
    "prompt_tokens": "prompt_len",
    "output_tokens": "output_len",
}
_RATES = {
    "requests_per_s": "requests_per_sec",
    "prompt_tokens_per_s": "input_tokens_per_sec",
    "output_tokens_per_s": "output_tokens_per_sec",
    "total_tokens_per_s": "total_tokens_per_sec",
}


def is_lifecycle(told: Node) -> bool:
    """A summary or a stage."""
    return told.has("load_summary", "successes", "failures")


def is_requests(told: Node) -> bool:
    """An entry of ``per_request_lifecycle_metrics.json``."""
    return told.has("start_time", "end_time", "info")


def read_lifecycle(documents: Sequence[Node]) -> list[Imported]:
    """One run a document."""
    return [_lifecycle(told) for told in documents]


def _lifecycle(told: Node) -> Imported:
    good = told["successes"]
    n = count(good.get("count"))
    scraped = good.get("latency") is None
    statistics = {}
    for metric, key in _STATISTICS.items():
        block = good.get("latency", key) or good.get(key)
        one = None if block is None else _statistic(block, key, None if metric == "itl_s" else n)
        if one is not None and not (scraped and not one.mean):  # a scrape writes 0 for what it could not read
            statistics[metric] = one
    rates = {name: number(good.get("throughput", key)) for name, key in _RATES.items()}
    rates |= {"requests_per_s": number(good.get("rate"))} if scraped else {}
    asked, sent = told.get("load_summary", "requested_rate"), told.get("load_summary", "count")
    return Imported(
        tool="inference-perf",
        run="server metrics" if scraped else ("stage" if asked is not None else "all stages"),
        load=Load(requests_per_s=number(asked), requests=count(sent)),
        statistics=statistics,
        rates={name: value for name, value in rates.items() if value is not None},
        duration_s=_duration(n, rates.get("requests_per_s")),
        completed=n,
        failed=count(told.get("failures", "count")),
    )


def _duration(n: int | None, per_s: float | None) -> float | None:
    return n / per_s if n and per_s else None


def _statistic(block: Node, key: str, n: int | None) -> Statistic | None:
    percentiles = quantiles(number(block.get("median")))
    for name, node in block.fields():
        if name[:1] == "p" and name[1:].replace(".", "", 1).isdigit() and node.value is not None:
            percentiles[round(float(name[1:]) / 100, 6)] = node.number()
    mean = number(block.get("mean"))
    if mean is None and not percentiles:
        return None
    return Statistic(
        stated_as=key,
        n=n,
        mean=mean,
        least=number(block.get("min")),
        most=number(block.get("max")),
        percentiles=tuple(sorted(percentiles.items())),
    )


def read_requests(documents: Sequence[Node]) -> list[Imported]:
    """All entries are one run."""
    requests = tuple(sorted((_request(told) for told in documents), key=lambda one: one.start_s or 0.0))
    return [
        Imported(
            tool="inference-perf",
            run="requests",
            requests=requests,
            completed=sum(one.error is None for one in requests),
            failed=sum(one.error is not None for one in requests),
        )
    ]


def _request(told: Node) -> Request:
    start, end, info = told["start_time"].number(), told["end_time"].number(), told["info"]
    if end < start:
        raise FieldError(f"{told.path}.end_time is {end}, before start_time {start}; the clock stepped back")
    stamps = info.first("output_token_times") or info.get("response_metrics", "output_token_times")
    at = stamps.numbers() if stamps is not None else ()
    error = told.get("error")
    for index, (one, two) in enumerate(zip((start, *at), (*at, end), strict=True)):
        if two < one and error is None:
            raise FieldError(f"{told.path}: token {index} is stamped {one}, the next event {two}; stamps must rise")
    said = None if error is None else (text(error) or text(error.first("error_msg", "error_type")) or "failed")
    return Request(
        prompt_tokens=count(info.get("input_tokens")),
        output_tokens=count(info.get("output_tokens") or info.get("response_metrics", "output_tokens")),
        start_s=start,
        ttft_s=at[0] - start if at and said is None else None,
        e2e_s=end - start if said is None else None,
        itl_s=tuple(two - one for one, two in itertools.pairwise(at)) if at and said is None else None,
        error=said,
    )
