"""Runs that obey every law, in each tool's form, for tests that break one figure."""

import copy
import json
from pathlib import Path

import numpy as np

SAMPLES = Path(__file__).parent / "golden" / "samples"


def sample(name):
    return json.loads((SAMPLES / name).read_text())


def bench(n=400, seed=0, rate=8.0, tokens=32):
    """A result of vLLM's client whose arrays and statistics agree exactly."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum(rng.exponential(1 / rate, n))
    ttfts = rng.uniform(0.04, 0.06, n)
    itls = rng.uniform(0.008, 0.012, (n, tokens - 1))
    latencies = ttfts + itls.sum(axis=1)
    duration = float((starts + latencies).max() - starts[0])
    tpots = (latencies - ttfts) / (tokens - 1)
    told = {
        "date": "20261121-070000",
        "endpoint_type": "openai",
        "backend": "vllm",
        "label": None,
        "model_id": "llama-3.1-8b",
        "tokenizer_id": "t",
        "num_prompts": n,
        "request_rate": rate,
        "burstiness": 1.0,
        "max_concurrency": None,
        "duration": duration,
        "completed": n,
        "failed": 0,
        "total_input_tokens": 64 * n,
        "total_output_tokens": tokens * n,
        "request_throughput": n / duration,
        "output_throughput": tokens * n / duration,
        "total_token_throughput": (64 + tokens) * n / duration,
        "input_lens": [64] * n,
        "output_lens": [tokens] * n,
        "ttfts": ttfts.tolist(),
        "itls": itls.tolist(),
        "latencies": latencies.tolist(),
        "start_times": starts.tolist(),
        "errors": [""] * n,
    }
    for name, values in (("ttft", ttfts), ("tpot", tpots), ("itl", itls.ravel()), ("e2el", latencies)):
        told[f"mean_{name}_ms"] = float(values.mean() * 1e3)
        told[f"median_{name}_ms"] = float(np.median(values) * 1e3)
        told[f"std_{name}_ms"] = float(values.std() * 1e3)
        told[f"p99_{name}_ms"] = float(np.quantile(values, 0.99) * 1e3)
    return told


def changed(told, **changes):
    return copy.deepcopy(told) | changes


def written(folder, told, name="result.json"):
    path = folder / name
    path.write_text(told if isinstance(told, str) else json.dumps(told))
    return path


def optimum(n=6, tokens=16):
    """benchmark.json of optimum-benchmark in its shape (no public sample has a licence)."""

    def latency(values):
        values = np.asarray(values)
        stated = {f"p{q}": float(np.quantile(values, q / 100)) for q in (50, 90, 95, 99)}
        figures = {"unit": "s", "values": values.tolist(), "count": values.size, "total": float(values.sum())}
        return {"latency": figures | stated | {"mean": float(values.mean()), "stdev": float(values.std())}}

    rng = np.random.default_rng(1)
    steps = rng.uniform(0.019, 0.021, (n, tokens - 1))
    return {
        "config": {
            "name": "run",
            "backend": {"name": "pytorch", "model": "meta-llama/Llama-3.1-8B", "device": "cuda", "device_ids": "1"},
            "scenario": {
                "input_shapes": {"batch_size": 1, "sequence_length": 64},
                "generate_kwargs": {"max_new_tokens": tokens, "min_new_tokens": tokens},
            },
            "environment": {
                "cpu": "a CPU",
                "gpu": ["NVIDIA DGX Display", "NVIDIA A100-SXM4-80GB"],
                "optimum_benchmark_version": "0.5.0",
            },
        },
        "report": {
            "load_model": latency([3.0]),
            "prefill": latency(rng.uniform(0.05, 0.06, n)),
            "decode": latency(steps.sum(axis=1)) | {"throughput": {"unit": "tokens/s", "value": 50.0}},
            "per_token": latency(steps.ravel()),
        },
    }
