"""llmperf (2023): individual responses and the summary.

Its ``inter_token_latency_s`` is the sum of all waits over all tokens, the wait for the first token included.
"""

from __future__ import annotations

from collections.abc import Sequence

from reckoner.measure.importers.fields import Node, count, number, text
from reckoner.measure.importers.imported import Imported, Load, Request, Statistic

_STATISTICS = {
    "ttft_s": "ttft_s",
    "normalised_tpot_s": "inter_token_latency_s",
    "e2e_s": "end_to_end_latency_s",
    "prompt_tokens": "number_input_tokens",
    "output_tokens": "number_output_tokens",
}


def is_responses(told: Node) -> bool:
    """An individual response."""
    return told.has("number_input_tokens", "number_output_tokens", "end_to_end_latency_s")


def is_summary(told: Node) -> bool:
    """A summary."""
    return told.has("results_ttft_s_mean") or told.has("results_end_to_end_latency_s_mean")


def read_responses(documents: Sequence[Node]) -> list[Imported]:
    """All responses are one run."""
    requests = tuple(_request(told) for told in documents)
    return [
        Imported(
            tool="llmperf",
            run="responses",
            requests=requests,
            completed=sum(one.error is None for one in requests),
            failed=sum(one.error is not None for one in requests),
        )
    ]


def _request(told: Node) -> Request:
    code = told.get("error_code")
    error = None if code is None else (text(told.get("error_msg")) or f"error {code.value}")
    return Request(
        prompt_tokens=count(told["number_input_tokens"]),
        output_tokens=count(told["number_output_tokens"]),
        ttft_s=None if error else number(told.get("ttft_s")),
        e2e_s=None if error else told["end_to_end_latency_s"].number(),
        error=error,
    )


def read_summary(documents: Sequence[Node]) -> list[Imported]:
    """One run a document."""
    return [_summary(told) for told in documents]


def _summary(told: Node) -> Imported:
    n = count(told.get("results_num_completed_requests"))
    per_minute = number(told.get("results_num_completed_requests_per_min"))
    tokens = number(told.get("results_mean_output_throughput_token_per_s"))
    rates = {"requests_per_s": None if per_minute is None else per_minute / 60, "output_tokens_per_s": tokens}
    return Imported(
        tool="llmperf",
        run="summary",
        version=text(told.get("version")),
        model=text(told.get("model")),
        engine=text(told.get("framework")),
        load=Load(
            concurrency=count(told.get("num_concurrent_requests")),
            requests=count(told.get("results_num_requests_started")),
        ),
        statistics={
            metric: one for metric, key in _STATISTICS.items() if (one := _statistic(told, key, n)) is not None
        },
        rates={name: value for name, value in rates.items() if value is not None},
        duration_s=60 * n / per_minute if n and per_minute else None,
        completed=n,
        failed=count(told.get("results_number_errors")),
        began_at=number(told.get("timestamp")),
    )


def _statistic(told: Node, key: str, n: int | None) -> Statistic | None:
    start = f"results_{key}_quantiles_p"
    percentiles = {
        float(name.removeprefix(start)) / 100: node.number() for name, node in told.fields() if name.startswith(start)
    }
    mean = number(told.get(f"results_{key}_mean"))
    if mean is None and not percentiles:
        return None
    return Statistic(
        stated_as=key,
        n=n,
        mean=mean,
        std=number(told.get(f"results_{key}_stddev")),
        least=number(told.get(f"results_{key}_min")),
        most=number(told.get(f"results_{key}_max")),
        percentiles=tuple(sorted(percentiles.items())),
    )
