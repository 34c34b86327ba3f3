"""optimum-benchmark (0.5): prefill, decode and per-token latencies of repetitions, alone on the machine.

Either ``benchmark.json`` (configuration and report) or ``benchmark_report.json`` (the report alone). Decode runs over
all tokens after the first; a repetition answers ``batch_size`` sequences at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from reckoner.measure.importers.fields import FieldError, Node, count, number, text
from reckoner.measure.importers.imported import Imported, Load, Request, Statistic

_PARTS = ("prefill", "decode", "per_token", "generate", "forward")


def is_optimum(told: Node) -> bool:
    """A report with or without its configuration."""
    report = told.get("report") or told
    return any(report.has(part) for part in ("prefill", "forward")) and report.has("load_model")


def read_optimum(documents: Sequence[Node]) -> list[Imported]:
    """One run a document."""
    return [_run(told) for told in documents]


def _run(told: Node) -> Imported:
    report, settings = told.get("report") or told, told.get("config")
    latency = {part: found for part in _PARTS if (found := report.get(part, "latency")) is not None}
    if not latency:
        raise FieldError(f"{report.path}.prefill.latency is null; run the benchmark with latency=true")
    for node in latency.values():
        if text(node.get("unit")) not in (None, "s"):
            raise FieldError(f"{node.path}.unit is {node['unit'].value!r}; seconds are expected")
    prompt, output = _lengths(settings)
    batch = _batch(settings)
    statistics = {name: _statistic(latency[part], part) for name, part in (("ttft_s", "prefill"),) if part in latency}
    if "per_token" in latency:
        statistics["itl_s"] = _statistic(latency["per_token"], "per_token")
    if "decode" in latency and output is not None and output > 1:
        whole = _statistic(latency["decode"], "decode")
        statistics["tpot_s"] = _divided(whole, output - 1)
    for name, value in (("prompt_tokens", prompt), ("output_tokens", output)):
        if value is not None:
            statistics[name] = Statistic(stated_as=name, mean=float(value))
    requests = _requests(latency, prompt, output)
    rates = {}
    if (speed := report.get("decode", "throughput")) is not None:
        rates["output_tokens_per_s"] = speed["value"].number()
    engine = None if settings is None else text(settings.get("backend", "name"))
    return Imported(
        tool="optimum-benchmark",
        run=(None if settings is None else text(settings.get("name"))) or "",
        version=None if settings is None else text(settings.get("environment", "optimum_benchmark_version")),
        model=None if settings is None else text(settings.get("backend", "model")),
        device=_device(settings),
        engine="transformers" if engine == "pytorch" else engine,
        load=Load(concurrency=batch),
        requests=requests,
        statistics=statistics,
        rates=rates,
        completed=len(requests) or None,
        failed=0 if requests else None,
    )


def _lengths(settings: Node | None) -> tuple[int | None, int | None]:
    """Tokens in and out of a sequence; None where the configuration is not there."""
    if settings is None:
        return None, None
    prompt = count(settings.get("scenario", "input_shapes", "sequence_length"))
    output = count(settings.get("scenario", "generate_kwargs", "max_new_tokens"))
    least = count(settings.get("scenario", "generate_kwargs", "min_new_tokens"))
    return prompt, output if output == least else None  # without a least number an answer may end early


def _batch(settings: Node | None) -> int | None:
    return None if settings is None else count(settings.get("scenario", "input_shapes", "batch_size"))


def _device(settings: Node | None) -> str | None:
    """GPU that the run names by number, where it says which."""
    if settings is None:
        return None
    told = settings.get("environment", "gpu")
    gpus = [text(one) for one in told.items()] if told is not None and isinstance(told.value, list) else []
    chosen = text(settings.get("backend", "device_ids")) or "0"
    if text(settings.get("backend", "device")) != "cuda" or not gpus:
        return text(settings.get("environment", "cpu"))
    first = chosen.split(",")[0]
    return gpus[int(first)] if first.isdigit() and int(first) < len(gpus) else gpus[0]


def _statistic(node: Node, name: str) -> Statistic:
    percentiles = {
        float(key[1:]) / 100: one.number() for key, one in node.fields() if key[:1] == "p" and key[1:].isdigit()
    }
    return Statistic(
        stated_as=f"{name}.latency",
        n=count(node.get("count")),
        mean=number(node.get("mean")),
        std=number(node.get("stdev")),
        percentiles=tuple(sorted(percentiles.items())),
    )


def _divided(whole: Statistic, by: int) -> Statistic:
    return Statistic(
        stated_as=f"{whole.stated_as} / {by}",
        n=whole.n,
        mean=None if whole.mean is None else whole.mean / by,
        std=None if whole.std is None else whole.std / by,
        percentiles=tuple((q, value / by) for q, value in whole.percentiles),
    )


def _requests(latency: dict[str, Node], prompt: int | None, output: int | None) -> tuple[Request, ...]:
    """A request a repetition of prefill; decode stands beside it where as many were timed."""
    first = latency["prefill"].get("values") if "prefill" in latency else None
    if first is None:
        return ()
    ttft = first.numbers()
    after = latency["decode"].get("values") if "decode" in latency else None
    decode = after.numbers() if after is not None else ()
    paired = len(decode) == len(ttft)
    many = (output or 0) > 1
    return tuple(
        Request(
            prompt_tokens=prompt,
            output_tokens=output,
            ttft_s=one,
            tpot_s=decode[i] / ((output or 0) - 1) if paired and many else None,
        )
        for i, one in enumerate(ttft)
    )
