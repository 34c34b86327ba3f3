"""What else can be read beside a run: a server's own metrics, and energy counters where there are any."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from reckoner.errors import EngineError
from reckoner.measure.wire.address import Address
from reckoner.measure.wire.fetch import fetch

SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})?\s+(\S+)")
KEPT = {
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "output_tokens",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:prefix_cache_hits_total": "prefix_hit_tokens",
    "vllm:prefix_cache_queries_total": "prefix_asked_tokens",
    "vllm:spec_decode_num_accepted_tokens_total": "accepted_tokens",
    "vllm:spec_decode_num_draft_tokens_total": "draft_tokens",
    "llamacpp:prompt_tokens_total": "prompt_tokens",
    "llamacpp:tokens_predicted_total": "output_tokens",
    "llamacpp:prompt_seconds_total": "prompt_s",
    "llamacpp:tokens_predicted_seconds_total": "decode_s",
    "llamacpp:n_decode_total": "steps",
    "sglang:prompt_tokens_total": "prompt_tokens",
    "sglang:generation_tokens_total": "output_tokens",
    "sglang:cached_tokens_total": "prefix_hit_tokens",
}
"""Counters and what they count: vLLM's production metrics, llama.cpp's tools/server/README.md and SGLang's production
metrics (names checked 2026-11-21)."""
_RAPL = Path("/sys/class/powercap")


def counters_of(text: str) -> dict[str, float]:
    r"""Known counters of a Prometheus page, summed over their labels.

    >>> counters_of('# HELP x\nllamacpp:prompt_tokens_total 12\nvllm:num_preemptions_total{model="m"} 3.0\n')
    {'preemptions': 3.0, 'prompt_tokens': 12.0}
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        match = SAMPLE.match(line)
        if match is None or match[1] not in KEPT:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        if math.isfinite(value) and value >= 0.0:
            name = KEPT[match[1]]
            found[name] = found.get(name, 0.0) + value
    return dict(sorted(found.items()))


def counters(address: Address) -> dict[str, float] | None:
    """Counters that a server shows at ``/metrics``; None where it shows none."""
    try:
        return counters_of(fetch(address, "/metrics", patience_s=5.0).decode("utf-8", "replace")) or None
    except EngineError:
        return None


def over(before: Mapping[str, float] | None, after: Mapping[str, float] | None) -> dict[str, float] | None:
    """What was counted between two looks; None where one is missing or a counter went back (a restart)."""
    if before is None or after is None:
        return None
    found = {name: value - before.get(name, 0.0) for name, value in after.items()}
    return None if any(value < 0.0 for value in found.values()) else found


def energy_j(root: Path = _RAPL) -> dict[str, float] | None:
    """Counters of energy by part of this machine, in J: RAPL's packages, NVML's GPUs; None where there are none."""
    found: dict[str, float] = {}
    for path in sorted(root.glob("intel-rapl:[0-9]*")):
        if path.name.count(":") == 1:
            try:
                found[path.name] = int((path / "energy_uj").read_text()) * 1e-6
            except (OSError, ValueError):
                continue
    found |= _gpus_j()
    return found or None


def _gpus_j() -> dict[str, float]:
    """Energy counters of NVIDIA's GPUs; none where their library is not there."""
    try:
        import pynvml
    except ImportError:
        return {}
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return {f"gpu{i}": pynvml.nvmlDeviceGetTotalEnergyConsumption(h) * 1e-3 for i, h in enumerate(handles)}
    except pynvml.NVMLError:
        return {}
