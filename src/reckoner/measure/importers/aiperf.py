"""AIPerf 0.13 (``profile_export_aiperf.json``, ``profile_export.jsonl``) and genai-perf: a block and a unit a metric.

Their ``inter_token_latency`` is one mean a request, (E2E - TTFT) / (n - 1); gaps are ``inter_chunk_latency``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from reckoner.measure.importers.fields import FieldError, Node, count, number, text
from reckoner.measure.importers.imported import Imported, Load, Request, Statistic

_STATISTICS = {
    "ttft_s": ("time_to_first_token",),
    "tpot_s": ("inter_token_latency",),
    "itl_s": ("inter_chunk_latency",),
    "e2e_s": ("request_latency",),
    "prompt_tokens": ("input_sequence_length",),
    "output_tokens": ("output_sequence_length", "output_token_count"),
}
_RATES = {
    "requests_per_s": "request_throughput",
    "prompt_tokens_per_s": "input_token_throughput",
    "output_tokens_per_s": "output_token_throughput",
    "total_tokens_per_s": "total_token_throughput",
}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0}


def is_records(told: Node) -> bool:
    """A line of ``profile_export.jsonl``."""
    return (told.has("metadata", "metrics") and told.get("metrics", "request_latency", "unit") is not None) or (
        told.has("metadata", "metrics") and told.has("error")
    )


def is_summary(told: Node) -> bool:
    """The export of statistics, of either tool."""
    return told.has("request_latency", "request_throughput") and told.get("request_latency", "unit") is not None


def is_server_metrics(told: Node) -> bool:
    """What AIPerf scraped from the server: no client's latencies."""
    return told.has("aiperf_version", "summary", "metrics")


def read_records(documents: Sequence[Node]) -> list[Imported]:
    """All lines are one run."""
    requests = tuple(_request(told) for told in documents)
    starts = [one.start_s for one in requests if one.start_s is not None]
    model = next((said for told in documents if (said := text(told.get("metadata", "model")))), None)
    return [
        Imported(
            tool="aiperf",
            run="records",
            model=model,
            requests=tuple(sorted(requests, key=lambda one: one.start_s or 0.0)),
            completed=sum(one.error is None for one in requests),
            failed=sum(one.error is not None for one in requests),
            began_at=min(starts, default=None),
        )
    ]


def _request(told: Node) -> Request:
    metrics, metadata = told["metrics"], told["metadata"]
    error = told.get("error")
    said = None
    if error is not None:
        said = text(error.first("message", "type")) or "failed"
    elif metadata.get("was_cancelled") is not None and metadata["was_cancelled"].value is True:
        said = "cancelled"
    elif not metrics.has("request_latency"):
        said = "no latency"
    gaps = metrics.get("inter_chunk_latency")
    return Request(
        id=text(metadata.get("x_request_id")),
        prompt_tokens=count(metrics.get("input_sequence_length", "value")),
        output_tokens=count(metrics.get("output_sequence_length", "value")),
        start_s=number(metadata.get("request_start_ns"), 1e-9),
        ttft_s=None if said else _seconds(metrics.get("time_to_first_token")),
        e2e_s=None if said else _seconds(metrics.get("request_latency")),
        tpot_s=None if said else _seconds(metrics.get("inter_token_latency")),
        itl_s=None if said or gaps is None else gaps["value"].numbers(_scale(gaps)),
        error=said,
    )


def read_summary(documents: Sequence[Node]) -> list[Imported]:
    """One run a document."""
    return [_summary(told) for told in documents]


def _summary(told: Node) -> Imported:
    settings = told.get("input_config")
    counted = number(told.get("request_count", "avg"))
    errors = told.get("error_request_count", "avg")
    rates = {name: number(told.get(key, "avg")) for name, key in _RATES.items()}
    aiperf = told.has("aiperf_version")
    statistics = {
        metric: one
        for metric, keys in _STATISTICS.items()
        if (one := _statistic(told, keys, metric, None if counted is None else int(counted))) is not None
    }
    return Imported(
        tool="aiperf" if aiperf else "genai-perf",
        version=text(told.get("aiperf_version")),
        model=_model(settings),
        load=_load(settings),
        statistics=statistics,
        rates={name: value for name, value in rates.items() if value is not None},
        duration_s=None if (length := told.get("benchmark_duration")) is None else length["avg"].number(_scale(length)),
        completed=None if counted is None else int(counted),
        failed=None if errors is None else int(errors.number()),
        began_at=_moment(told.get("start_time")),
    )


def _statistic(told: Node, keys: Sequence[str], metric: str, n: int | None) -> Statistic | None:
    for key in keys:
        block = told.get(key)
        if block is None:
            continue
        scale = _scale(block) if metric.endswith("_s") else 1.0
        percentiles = {
            float(name[1:]) / 100: node.number(scale)
            for name, node in block.fields()
            if name[:1] == "p" and name[1:].isdigit() and node.value is not None
        }
        stated = count(block.get("count"))
        return Statistic(
            stated_as=key,
            n=stated if stated is not None else (None if metric == "itl_s" else n),
            mean=number(block.get("avg"), scale),
            std=number(block.get("std"), scale),
            least=number(block.get("min"), scale),
            most=number(block.get("max"), scale),
            percentiles=tuple(sorted(percentiles.items())),
        )
    return None


def _model(settings: Node | None) -> str | None:
    if settings is None:
        return None
    items = settings.get("models", "items")
    if items is not None and items.value:
        return text(items.items()[0].get("name"))
    names = settings.first("model_names", "model")
    if names is not None and isinstance(names.value, list) and names.value:
        return text(names.items()[0])
    return text(names) or text(settings.get("endpoint", "model"))


def _load(settings: Node | None) -> Load:
    """Load of the phase that is measured: the last that is no warm-up."""
    phases = None if settings is None else settings.get("phases")
    told = [one for one in phases.items() if text(one.get("kind")) != "warmup"] if phases is not None else []
    if told:
        asked = told[-1]
    elif settings is not None:
        asked = settings.get("loadgen") or settings.get("perf_analyzer", "stimulus") or settings
    else:
        return Load()
    rate = asked.first("request_rate", "rate")
    return Load(
        requests_per_s=math.inf if rate is not None and rate.value == "inf" else number(rate),
        concurrency=count(asked.get("concurrency")),
        requests=count(asked.first("requests", "request_count")),
    )


def _scale(block: Node) -> float:
    unit = block["unit"].text()
    if unit not in _SECONDS:
        raise FieldError(f"{block.path}.unit is {unit!r}; units of time known are {', '.join(_SECONDS)}")
    return _SECONDS[unit]


def _seconds(block: Node | None) -> float | None:
    return None if block is None else block["value"].number(_scale(block))


def _moment(node: Node | None) -> float | None:
    said = text(node)
    if said is None:
        return None
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
