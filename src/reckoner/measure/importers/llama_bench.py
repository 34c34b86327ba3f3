"""llama-bench ``-o json`` or ``jsonl`` (2026): repetitions of a prompt, of generation or of both, alone.

A prompt's time stands for the time to first token (no token is sampled); a test that only generates has no prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from reckoner.measure.importers.fields import Node, text
from reckoner.measure.importers.imported import Imported, Load, Request, Statistic


def is_llama_bench(told: Node) -> bool:
    """One test."""
    return told.has("n_prompt", "n_gen", "avg_ns")


def read_llama_bench(documents: Sequence[Node]) -> list[Imported]:
    """One run a test."""
    return [_run(told) for told in documents]


def _run(told: Node) -> Imported:
    prompt, output, depth = (told[key].count() if told.has(key) else 0 for key in ("n_prompt", "n_gen", "n_depth"))
    samples = told["samples_ns"].numbers(1e-9) if told.get("samples_ns") is not None else ()
    name = "+".join(f"{kind}{n}" for kind, n in (("pp", prompt), ("tg", output)) if n)
    mean, spread = told["avg_ns"].number(1e-9), told.get("stddev_ns")
    std = None if spread is None else spread.number(1e-9)
    n = len(samples) or None
    e2e = Statistic(stated_as="avg_ns", n=n, mean=mean, std=std)
    found = {"e2e_s": e2e, "prompt_tokens": Statistic(stated_as="n_prompt", n=n, mean=float(prompt))}
    found["output_tokens"] = Statistic(stated_as="n_gen", n=n, mean=float(output))
    if prompt and not output:
        found["ttft_s"] = e2e
    if output and not prompt:
        share = None if std is None else std / output
        found["tpot_s"] = Statistic(stated_as="avg_ns / n_gen", n=n, mean=mean / output, std=share)
    rates = {}
    if told.get("avg_ts") is not None:
        rates["total_tokens_per_s"] = told["avg_ts"].number()
    file = text(told.get("model_filename"))
    return Imported(
        tool="llama-bench",
        run=name + (f" @ d{depth}" if depth else ""),
        version=text(told.get("build_commit")),
        model=text(told.get("model_type")) if file is None else PurePath(file).stem,
        device=text(told.get("gpu_info")) or text(told.get("cpu_info")),
        engine="llama.cpp",
        load=Load(concurrency=1, requests=n),
        requests=tuple(
            Request(
                prompt_tokens=prompt,
                output_tokens=output,
                ttft_s=one if not output else None,
                e2e_s=one,
                tpot_s=one / output if output and not prompt else None,
            )
            for one in samples
        ),
        statistics=found,
        rates=rates,
        duration_s=float(np.sum(samples)) if samples else None,
        completed=n,
        failed=0,
    )
