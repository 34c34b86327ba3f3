"""The engines on a 100 M parameter random-weight decoder, one thread: against each other and against memory.

Every round measures all contenders once, in turn, so that a busy machine slows them alike; ratios are of medians.
"""

import time

import numpy as np
import pytest

from reckoner.engines.llamacpp import LlamaCpp
from reckoner.engines.numpy_decoder import NumpyDecoder
from reckoner.engines.random_decoder import random_gguf, random_weights

CONTEXT = 128
ROUNDS = 40
BUFFER_BYTES = 400 << 20  # as large as the weights, far larger than any last-level cache


def seconds(call):
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


@pytest.fixture(scope="module", params=["fp32", "int8"])
def engines(request, tmp_path_factory):
    weights = random_weights(precision=request.param)
    reference = NumpyDecoder(weights)
    path = random_gguf(tmp_path_factory.mktemp("models"), precision=request.param)
    with LlamaCpp(path, n_ctx=1024) as real:
        yield request.param, weights.decode_read_bytes, reference, real


def test_decode_against_llamacpp_and_the_memory_limit(engines, benchmark):
    precision, stored_bytes, reference, real = engines
    prompt = list(range(300, 300 + CONTEXT))
    cache = reference.new_cache(CONTEXT + 1)
    reference.prefill(prompt, cache)
    source = np.ones(BUFFER_BYTES // 4, np.float32)
    target = np.ones_like(source)

    def step():
        cache.rewind(CONTEXT)
        reference.decode_step(300, cache)

    contenders = {
        "numpy_s": lambda: seconds(step),
        "llamacpp_s": lambda: real.decode_ms_at(prompt) * 1e-3,
        "copy_s": lambda: seconds(lambda: np.copyto(target, source)),
        "read_s": lambda: seconds(source.sum),
    }
    rounds = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, measure in contenders.items():
            rounds[name].append(measure())
    median = {name: float(np.median(times)) for name, times in rounds.items()}
    copy = 2 * BUFFER_BYTES / median["copy_s"]  # a copy reads and writes
    held = streamed_bytes(reference)
    figures = {
        "precision": precision,
        "numpy_tokens_per_s": 1 / median["numpy_s"],
        "llamacpp_tokens_per_s": 1 / median["llamacpp_s"],
        "copy_bytes_per_s": copy,
        "read_bytes_per_s": BUFFER_BYTES / median["read_s"],
        "numpy_over_llamacpp": median["llamacpp_s"] / median["numpy_s"],
        # both against the bytes that the engine itself holds: NumPy multiplies INT8 out to float32
        "numpy_over_copy_limit": held / median["numpy_s"] / copy,
        "llamacpp_over_copy_limit": stored_bytes / median["llamacpp_s"] / copy,
    }
    benchmark.extra_info.update(figures)
    print(figures)
    benchmark.pedantic(step, rounds=10, warmup_rounds=1)
    assert figures["numpy_over_copy_limit"] > 0.4
    assert figures["numpy_over_llamacpp"] > (0.5 if precision == "fp32" else 0.1)


def streamed_bytes(decoder):
    """Bytes that a decode step streams: all that is held but the embedding table."""
    table = decoder.config.vocab_size * decoder.config.hidden_size * 4
    return decoder.weight_bytes - table


def test_our_engine_adds_at_most_two_percent_to_llamacpps_own_time(engines, benchmark):
    precision, _, _, real = engines
    prompt = list(range(300, 300 + CONTEXT))
    shares = []

    def run():
        started = time.perf_counter()
        answer = real.generate(prompt, max_new_tokens=33)
        wall = time.perf_counter() - started
        shares.append(wall / (answer.prefill_s + answer.decode_s) - 1)

    benchmark.pedantic(run, rounds=8, warmup_rounds=1)
    benchmark.extra_info.update(precision=precision, overhead=float(np.median(shares)), goal=0.02)
    print(precision, "overhead", float(np.median(shares)), "of", sorted(shares))
    assert np.median(shares) <= 0.02
