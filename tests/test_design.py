from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.catalogue.device import Device
from reckoner.catalogue.find import device
from reckoner.catalogue.model import PARTS, Attention, Experts, Model
from reckoner.design import Design, Serving, Slo, Workload
from reckoner.errors import InputError, MissingFigureError, UnknownNameError


def a_model(heads=32, kv_heads=8, *, latent=0, experts=None, n_layers=32):
    group = Attention(
        n_layers=n_layers, n_heads=heads, n_kv_heads=kv_heads, head_dim=128, value_dim=128, latent_dim=latent
    )
    return Model(
        name="a-model", title="A model", architecture="llama", n_layers=n_layers, hidden=heads * 128, n_heads=heads,
        n_kv_heads=kv_heads, head_dim=128, ffn=14336, vocab=128256, tied=False, attention=(group,),
        parts=dict.fromkeys(PARTS, 1000), experts=experts,
    )  # fmt: skip


H100 = device("h100")


def design(model=None, **serving):
    return Design(model=model or a_model(), device=H100, serving=Serving(**serving))


def test_formats_are_resolved_when_a_design_is_made():
    made = design(weights="FP8", kv="fp8")
    assert (made.weights_format.name, made.kv_format.name, made.compute_dtype) == ("fp8", "fp8", "fp8")
    assert made.peak_flop_per_s == H100.peak("fp8")


def test_weights_of_four_bits_are_computed_in_a_type_that_the_design_names():
    made = design(weights="int4")
    assert made.compute_dtype == "fp16"
    assert made.peak_flop_per_s == H100.peak("fp16")


def test_a_compute_type_that_the_device_lacks_is_refused_with_those_it_has():
    with pytest.raises(MissingFigureError, match=r"nvidia-h100-sxm has no fp4 peak; present: .*bf16"):
        design(compute="fp4")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("batch", 0, "batch is 0; it must be at least 1"),
        ("batch", -3, "batch is -3"),
        ("batch", float("nan"), "batch is nan"),
        ("batch", float("inf"), "batch is inf"),
        ("tp", 1.5, r"tp is 1\.5; it must be a whole number"),
        ("scheduler", "magic", "scheduler is 'magic'; use continuous or static"),
        ("batch", [], "batch is empty"),
        ("batch", "many", "batch is 'many'; give a number"),
        ("batch", [1, 2, 0], "batch is 0"),
    ],
)
def test_a_serving_value_out_of_range_is_refused(field, value, words):
    with pytest.raises(InputError, match=words):
        Serving(**{field: value})


def test_an_unknown_engine_gets_near_misses_and_aliases_lead_home():
    with pytest.raises(UnknownNameError, match="Did you mean vllm"):
        Serving(engine="vlllm")
    assert Serving(engine="TRTLLM").engine == "tensorrt-llm"


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("nvidia-rtx-4090", "vllm"),
        ("apple-m3-max-40c", "llama.cpp"),
        ("intel-i5-1035g7", "llama.cpp"),
        ("aws-trainium2", "neuron"),
        ("rockchip-rk3588", "rkllm"),
        ("apple-a17-pro", "executorch"),
        ("rp2040", "executorch"),
    ],
)
def test_a_device_has_the_engine_of_its_kind_unless_one_is_named(name, engine):
    on = device(name)
    kwargs = {"compute": next(iter(on.peak_flop_per_s))}
    assert Design(model=a_model(), device=on, serving=Serving(**kwargs)).engine == engine
    assert Design(model=a_model(), device=on, serving=Serving(engine="sglang", **kwargs)).engine == "sglang"


def test_another_device_brings_its_own_engine():
    moved = replace(design(), device=device("apple-m3-max-40c"))
    assert (design().engine, moved.engine) == ("vllm", "llama.cpp")


@pytest.mark.parametrize(
    ("field", "value"),
    [("prompt_tokens", 0), ("output_tokens", -1), ("prefix_hit", 1), ("prefix_hit", -0.1), ("requests_per_s", -1)],
)
def test_a_workload_value_out_of_range_is_refused(field, value):
    with pytest.raises(InputError, match=f"{field} is "):
        Workload(**{field: value})


def test_an_unknown_format_is_refused():
    with pytest.raises(UnknownNameError, match="no precision named 'fp7'"):
        design(weights="fp7")


def test_tp_must_divide_the_heads():
    with pytest.raises(InputError, match="tp is 3; it must divide the 32 heads of a-model"):
        design(tp=3)
    with pytest.raises(InputError, match="tp is 5"):
        design(tp=[1, 2, 5])


@given(st.sampled_from([1, 2, 4, 8, 16, 32]))
def test_key_value_heads_are_divided_or_replicated(tp):
    assert design(a_model(32, 8), tp=tp).serving.tp == tp


def test_key_value_heads_that_cannot_be_replicated_evenly_are_refused():
    with pytest.raises(InputError, match="tp is 4; it must divide or be a multiple of the 6 key-value heads"):
        design(a_model(24, 6), tp=4)


def test_a_latent_cache_needs_no_division():
    assert design(a_model(128, 1, latent=576), tp=8).serving.tp == 8


def test_experts_are_shared_among_devices_that_there_are():
    experts = Experts(n_layers=32, n_experts=8, n_active=2, ffn=1000, params_each=10)
    assert design(a_model(experts=experts), tp=8, ep=4).serving.ep == 4
    with pytest.raises(InputError, match="ep is 3; it must divide the 8 experts"):
        design(a_model(experts=experts), ep=3)
    with pytest.raises(InputError, match="ep is 8; it must divide tp"):
        design(a_model(experts=experts), tp=4, ep=8)
    with pytest.raises(InputError, match="ep is 2; a-model has no experts"):
        design(ep=2, tp=2)


def test_a_pipeline_has_at_most_as_many_stages_as_layers():
    with pytest.raises(InputError, match="pp is 33; a-model has 32 layers"):
        design(pp=33)


def test_arrays_are_copied_and_cannot_be_changed_later():
    batch = np.array([1.0, 8.0])
    serving = Serving(batch=batch)
    batch[0] = -1
    assert serving.batch.tolist() == [1, 8]
    with pytest.raises(ValueError, match="read-only"):
        serving.batch[0] = 5


def test_devices_are_counted_over_stages_and_replicas():
    assert design(tp=4, pp=2, replicas=3).n_devices == 24


@pytest.mark.parametrize(
    ("field", "value"), [("ttft_p99_s", 0), ("availability", 1.0), ("min_quality", 1.1), ("usd_per_request", -1)]
)
def test_a_promise_out_of_range_is_refused(field, value):
    with pytest.raises(InputError, match=f"{field} is "):
        Slo(**{field: value})


def test_a_device_without_the_formats_of_the_weights_is_refused():
    tiny = Device(
        name="tiny", title="Tiny", tier="tinyml", device_class="mcu", vendor="nobody", memory_bytes=1e6,
        bandwidth_bytes_per_s=1e8, peak_flop_per_s={"int8": 1e9}, source="made up for a test", checked=date(2026, 1, 1),
    )  # fmt: skip
    with pytest.raises(MissingFigureError, match="tiny has no peak of bf16"):
        Design(model=a_model(), device=tiny)
