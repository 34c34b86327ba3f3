"""What rows of measurements are made of: memory by its parts, peaks by format, kernels by kind of layer, means."""

from __future__ import annotations

import numpy as np
import pytest

from reckoner.catalogue.find import model
from reckoner.predict.intervals import NOVELTIES, calibrate
from reckoner.predict.quantities import EFFECTS, basis, log_quantity
from reckoner.predict.rows import Rows, build
from reckoner.predict.terms import KERNELS
from reckoner.predict.work import decode_work, shape_of

LLAMA = {
    "model": "meta-llama/Llama-3.1-8B", "hardware": "RTX-4090-24GB", "engine": "hf-transformers", "dtype": "fp16",
    "layers": "32", "w_gb": "16.06", "params_b": "8.03", "kv_b": "131072", "n": "1", "n_eff": "1", "batch": "1",
    "n_in": "512", "n_out": "512", "ctx": "1024", "bw_gb_s": "1008", "mem_gb": "24", "peak_tflops": "165",
}  # fmt: skip


def rows(kind: str, **changes: str) -> Rows:
    return build([LLAMA | {"kind": kind} | changes])


def nominal(kind: str, **changes: str) -> float:
    asked = rows(kind, **changes)
    return float(np.exp(log_quantity(asked, basis(asked), np.zeros((1, len(EFFECTS)))))[0])


def test_memory_is_weights_cache_context_and_activations():
    cache_gb = 2.0 * 131072 * 1024 / 1e9  # an eager framework holds the old beside the new
    found = rows("memory_gb").number
    passing_gb = 512 * (32.0 * found["hidden"][0] + 6.0 * 128256) / 1e9
    assert nominal("memory_gb") == pytest.approx(16.06 + cache_gb + 0.5 + passing_gb)


def test_memory_does_not_depend_on_how_fast_a_device_is():
    assert nominal("memory_gb", bw_gb_s="3350", peak_tflops="989") == nominal("memory_gb")


@pytest.mark.parametrize("field", ["batch", "ctx", "w_gb", "n_in"])
def test_memory_grows_with_what_it_holds(field):
    assert nominal("memory_gb", **{field: str(2.0 * float(LLAMA[field]))}) > nominal("memory_gb")


def test_awq_leaves_the_tables_wide_and_llama_cpp_does_not():
    narrow = {"dtype": "int4", "w_gb": "4.5"}
    tables_gb = 2 * 128256 * 4096 * (2.0 - 4.5 / 8.03) / 1e9
    wide = nominal("memory_gb", engine="autoawq", **narrow)
    assert wide - nominal("memory_gb", engine="llama.cpp", **narrow) == pytest.approx(tables_gb, abs=1e-6)


def test_a_server_takes_its_share_of_the_memory_when_it_starts():
    assert nominal("memory_gb", engine="vllm", mem_gb="80") == pytest.approx(0.9 * 80.0)


def test_single_precision_has_its_own_peak_and_never_a_higher_one():
    assert rows("prefill_b1", dtype="fp32").number["peak_tflops"][0] == pytest.approx(82.6)
    assert rows("prefill_b1", dtype="fp32", peak_tflops="40").number["peak_tflops"][0] == 40.0
    assert rows("prefill_b1", dtype="fp32", hardware="nobody-knows-it").number["peak_tflops"][0] == 165.0


@pytest.mark.parametrize(("name", "kind"), [("llama-3.1-8b", "dense"), ("mixtral-8x7b", "moe"), ("deepseek-v3", "mla")])
def test_rows_and_designs_count_the_same_kernels(name, kind):
    shape = shape_of(model(name), 2.0, 2.0)
    assert shape.kernels == decode_work(shape, 1.0, 100.0).kernels == KERNELS[kind]
    sizes = {"params_b": model(name).params / 1e9, "active_b": model(name).active_params / 1e9}
    stated = {"model": model(name).name} | {k: str(v) for k, v in sizes.items()}
    assert build([LLAMA | {"kind": "decode_b1"} | stated]).number["kernels"][0] == KERNELS[kind]


def test_a_mean_first_token_holds_the_burst_that_a_median_leaves_out():
    loop = {"engine": "vllm", "batch": "64"}
    median = nominal("serving_ttft", scenario="closed_loop_concurrency:random_range_ratio0.8", **loop)
    mean = nominal("serving_ttft", scenario="closed_loop_concurrency:silicon-infx", **loop)
    alone = [
        nominal("serving_ttft", scenario=f"closed_loop_concurrency:{s}", engine="vllm") for s in ("silicon-infx", "x")
    ]
    assert mean > median
    assert mean / median > alone[0] / alone[1]


def test_many_rows_of_one_source_do_not_make_an_interval_narrow():
    new = NOVELTIES.index("new device")
    one, others = np.full(2000, 0.1), np.full(400, 1.0)
    names = ["a"] * 2000 + [f"b{i}" for i in range(40) for _ in range(10)]
    group = np.array(["e2e"] * 2000 + ["decode"] * 400, dtype=object)
    bands = calibrate(group, np.array(names, dtype=object), np.full(2400, new), np.concatenate([one, others]))
    assert bands.width["e2e"][new] == pytest.approx(np.sqrt(0.1 * bands.everywhere[new]))


@pytest.mark.parametrize(
    ("effect", "moved", "unmoved"),
    [("served_flops", "serving_ttft", "prefill_b1"), ("prefill_flops", "prefill_b1", "serving_ttft")],
)
def test_prompts_of_a_busy_server_are_read_at_a_speed_of_their_own(effect, moved, unmoved):
    def slower(kind: str) -> float:
        asked = rows(kind, engine="vllm", batch="32")
        u = np.zeros((1, len(EFFECTS)))
        before = log_quantity(asked, basis(asked), u)
        u[0, EFFECTS.index(effect)] = 1.0
        return float((log_quantity(asked, basis(asked), u) - before)[0])

    assert slower(moved) > 0.1
    assert slower(unmoved) == 0.0
