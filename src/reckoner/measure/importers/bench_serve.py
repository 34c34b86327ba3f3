"""vLLM's ``bench serve`` (Python 0.32, Rust 0.33), SGLang's (0.5.23) and InferenceX: one family of keys.

All write arrays by request where details were asked for, in seconds, and statistics in milliseconds; InferenceX writes
statistics only, in seconds, without a unit in the key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from reckoner.measure.importers.fields import Node, count, number, quantiles, same_length, text
from reckoner.measure.importers.imported import Imported, Load, Request, Statistic

_NAMES = {"ttft_s": ("ttft",), "tpot_s": ("tpot",), "itl_s": ("itl",), "e2e_s": ("e2el", "e2e_latency")}
_ENGINES = ("vllm", "sglang", "tgi", "lmdeploy", "trt", "tensorrt-llm")
_RATES = {
    "requests_per_s": ("request_throughput",),
    "prompt_tokens_per_s": ("input_throughput",),
    "output_tokens_per_s": ("output_throughput",),
    "total_tokens_per_s": ("total_token_throughput", "total_throughput"),
}


def is_bench(told: Node) -> bool:
    """Whether it is a result of this family, from whichever tool."""
    return (told.has("completed", "duration") and (told.has("mean_ttft_ms") or told.has("ttfts"))) or told.has("ttfts")


def is_sglang(told: Node) -> bool:
    """SGLang's client: it names its random lengths or the server's own information."""
    return is_bench(told) and (told.has("server_info") or told.has("sharegpt_output_len") or not told.has("model_id"))


def is_vllm_rs(told: Node) -> bool:
    """VLLM's Rust client."""
    return is_bench(told) and (told.has("steady_state") or told.has("max_model_len"))


def is_vllm(told: Node) -> bool:
    """VLLM's Python client."""
    return is_bench(told) and told.has("model_id")


def is_inferencex(told: Node) -> bool:
    """InferenceX: the same statistics in seconds."""
    return told.has("completed", "duration", "median_ttft") and not told.has("median_ttft_ms")


def read_vllm(documents: Sequence[Node]) -> list[Imported]:
    """Runs of vLLM's Python client."""
    return [_run(told, "vllm-bench") for told in documents]


def read_vllm_rs(documents: Sequence[Node]) -> list[Imported]:
    """Runs of vLLM's Rust client."""
    return [_run(told, "vllm-rs-bench") for told in documents]


def read_sglang(documents: Sequence[Node]) -> list[Imported]:
    """Runs of SGLang's client, one a line."""
    return [_run(told, "sglang-bench") for told in documents]


def read_inferencex(documents: Sequence[Node]) -> list[Imported]:
    """Runs of InferenceX."""
    return [_run(told, "inferencex") for told in documents]


def _run(told: Node, tool: str) -> Imported:
    requests = _requests(told)
    completed = count(told.get("completed"))
    failed = count(told.get("failed"))
    if failed is None and requests:
        failed = sum(one.error is not None for one in requests)
    rate = told.get("request_rate")
    return Imported(
        tool=tool,
        model=text(told.get("model_id")) or text(told.get("server_info", "model_path")),
        engine=_engine(text(told.get("backend"))),
        load=Load(
            requests_per_s=None if rate is None else (math.inf if rate.value in ("inf", math.inf) else rate.number()),
            concurrency=count(told.get("max_concurrency")),
            requests=count(told.get("num_prompts")),
        ),
        requests=requests,
        statistics=_statistics(told, requests, completed),
        rates={name: value for name, keys in _RATES.items() if (value := number(told.first(*keys))) is not None},
        duration_s=number(told.get("duration")),
        completed=completed,
        failed=failed,
        began_at=_date(told),
    )


def _engine(backend: str | None) -> str | None:
    """Engine that a client's backend names; ``openai`` is a dialect that many speak.

    >>> _engine("sglang-oai"), _engine("openai-chat")
    ('sglang', None)
    """
    return next((name for name in _ENGINES if backend is not None and backend.startswith(name)), None)


def _requests(told: Node) -> tuple[Request, ...]:
    """Arrays by request, turned round; none where no details were saved."""
    if not told.has("ttfts"):
        return ()
    names = ("ttfts", "input_lens", "output_lens", "itls", "latencies", "start_times", "errors")
    lists = {name: told.get(name) for name in names}
    n = same_length([node for name, node in lists.items() if node is not None and node.value != []])
    numbers = {name: node.numbers() for name in names[:3] + names[4:6] if (node := lists[name]) and node.value}
    gaps = [one.numbers() for one in lists["itls"].items()] if lists["itls"] and lists["itls"].value else None
    errors = lists["errors"].value if lists["errors"] and lists["errors"].value else [""] * n
    found = []
    for i in range(n):
        failed = bool(errors[i])
        told_s = {name: numbers[name][i] if name in numbers else None for name in numbers}
        prompt, output = told_s.get("input_lens"), told_s.get("output_lens")
        found.append(
            Request(
                prompt_tokens=None if prompt is None else int(prompt),
                output_tokens=None if output is None else int(output),
                start_s=told_s.get("start_times"),
                ttft_s=None if failed else told_s.get("ttfts"),
                e2e_s=None if failed else told_s.get("latencies"),
                itl_s=None if failed or gaps is None else gaps[i],
                error=str(errors[i]) if failed else None,
            )
        )
    return tuple(found)


def _statistics(told: Node, requests: Sequence[Request], completed: int | None) -> dict[str, Statistic]:
    found = {}
    for metric, names in _NAMES.items():
        for name in names:
            for end, scale in (("_ms", 1e-3), ("", 1.0)):
                one = _statistic(told, name, end, scale, completed if metric != "itl_s" else _gaps(requests))
                if one is not None and metric not in found:
                    found[metric] = one
    for metric, key in (("prompt_tokens", "total_input_tokens"), ("output_tokens", "total_output_tokens")):
        total = number(told.get(key))
        if total is not None and completed:
            found[metric] = Statistic(stated_as=key, n=completed, mean=total / completed)
    return found


def _gaps(requests: Sequence[Request]) -> int | None:
    return sum(len(one.itl_s) for one in requests if one.itl_s) if requests else None


def _statistic(told: Node, name: str, end: str, scale: float, n: int | None) -> Statistic | None:
    percentiles = quantiles(number(told.get(f"median_{name}{end}"), scale))
    for key, node in told.fields():
        match = re.fullmatch(rf"p(\d+(?:\.\d+)?)_{name}{end}", key)
        if match and node.value is not None:
            percentiles[round(float(match[1]) / 100, 6)] = node.number(scale)
    mean = number(told.get(f"mean_{name}{end}"), scale)
    if mean is None and not percentiles:
        return None
    return Statistic(
        stated_as=f"{name}{end}",
        n=n,
        mean=mean,
        std=number(told.get(f"std_{name}{end}"), scale),
        percentiles=tuple(sorted(percentiles.items())),
    )


def _date(told: Node) -> float | None:
    """Seconds since 1970 of ``20261120-225531`` (no zone: taken as UTC) or an ISO 8601 text."""
    said = text(told.get("date"))
    if said is None:
        return None
    try:
        if re.fullmatch(r"\d{8}-\d{6}", said):
            return datetime.strptime(said, "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
        return datetime.fromisoformat(said).timestamp()
    except ValueError:
        return None
