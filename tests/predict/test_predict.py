import math
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.catalogue.device import Device
from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving, Workload
from reckoner.errors import DoesNotFitError, InputError, MissingFigureError, UnknownNameError
from reckoner.predict.efficiency import IDEAL, NAMES, PRIOR
from reckoner.predict.metrics import BOUNDS, UNITS
from reckoner.predict.prediction import predict

METRICS = [name for name in UNITS if name != "usd_per_m_output_tokens"]

LLAMA, MIXTRAL, H100 = model("llama-3.1-8b"), model("mixtral-8x7b"), device("h100")
FREE = replace(IDEAL, layer=0.0, layer_prefill=0.0)  # no fixed costs
models = st.sampled_from([LLAMA, MIXTRAL])
batches = st.integers(1, 256)
tokens = st.integers(1, 16_384)


def ask(which=LLAMA, on=H100, *, efficiency=PRIOR, workload=None, **serving):
    return predict(
        Design(model=which, device=on, serving=Serving(**serving)), workload or Workload(), efficiency=efficiency
    )


def test_a_lone_decode_step_at_the_printed_limits_is_bytes_over_bandwidth():
    found = ask(efficiency=FREE, workload=Workload(prompt_tokens=1000, output_tokens=200))
    weights, cache = 8_030_261_248 * 2, 131_072 * 1100
    assert found.tpot_s == pytest.approx((weights + cache) / 3.35e12, rel=1e-3)


def test_a_long_prefill_at_the_printed_limits_is_operations_over_peak():
    found = ask(efficiency=FREE, workload=Workload(prompt_tokens=8192, output_tokens=1))
    flops = 2 * 8_030_261_248 * 8192 + 4 * 32 * 4096 * 8192 * 8193 / 2
    assert found.ttft_s == pytest.approx(flops / 989.4e12, rel=1e-3)


@settings(deadline=None)
@given(models, batches, tokens, tokens, st.floats(1.01, 4))
def test_a_faster_memory_never_slows(which, batch, prompt, output, factor):
    workload = Workload(prompt_tokens=prompt, output_tokens=output)
    faster = replace(H100, name="faster", bandwidth_bytes_per_s=H100.bandwidth_bytes_per_s * factor)
    before, after = ask(which, batch=batch, workload=workload), ask(which, faster, batch=batch, workload=workload)
    assert after.tpot_s <= before.tpot_s * (1 + 1e-12)
    assert after.e2e_s <= before.e2e_s * (1 + 1e-12)


@settings(deadline=None)
@given(models, batches, tokens, tokens)
def test_a_larger_batch_raises_throughput_memory_and_the_gap_between_tokens(which, batch, prompt, output):
    workload = Workload(prompt_tokens=prompt, output_tokens=output)
    one, two = ask(which, batch=batch, workload=workload), ask(which, batch=batch + 1, workload=workload)
    assert two.tpot_s >= one.tpot_s * (1 - 1e-9)
    assert two.output_tokens_per_s >= one.output_tokens_per_s * (1 - 1e-9)
    assert two.memory_bytes > one.memory_bytes


@given(batches, tokens, tokens)
def test_a_request_is_its_first_token_and_the_gaps(batch, prompt, output):
    found = ask(batch=batch, workload=Workload(prompt_tokens=prompt, output_tokens=output))
    assert found.e2e_s == pytest.approx(found.ttft_s + (output - 1) * found.tpot_s, rel=1e-12)
    assert found.requests_per_s * found.e2e_s == pytest.approx(batch, rel=1e-12)  # Little's law
    assert found.output_tokens_per_s == pytest.approx(found.requests_per_s * output, rel=1e-12)


@given(st.integers(1, 64))
def test_replicas_multiply_throughput_and_leave_latency(replicas):
    one, many = ask(batch=8), ask(batch=8, replicas=replicas)
    assert many.requests_per_s == pytest.approx(replicas * one.requests_per_s)
    assert many.e2e_s == one.e2e_s
    assert many.j_per_token == pytest.approx(one.j_per_token)


def test_fewer_bits_read_less_and_keep_the_cache():
    bf16, fp8, int4 = ask(), ask(weights="fp8"), ask(weights="int4")
    assert int4.tpot_s < fp8.tpot_s < bf16.tpot_s
    assert fp8.memory.weights == bf16.memory.weights / 2
    assert fp8.memory.kv == bf16.memory.kv == int4.memory.kv
    assert ask(kv="fp8").memory.kv == bf16.memory.kv / 2


def test_a_found_prefix_shortens_the_prefill_and_not_the_decode():
    cold = ask(workload=Workload(prompt_tokens=8000, output_tokens=10))
    warm = ask(workload=Workload(prompt_tokens=8000, output_tokens=10, prefix_hit=0.9))
    assert warm.ttft_s < 0.3 * cold.ttft_s
    assert warm.tpot_s == cold.tpot_s


def test_tensor_parallel_ranks_split_the_weights_and_pay_for_messages():
    one, four = ask(), ask(tp=4)
    assert four.memory.weights == one.memory.weights / 4
    assert four.outcome.step.weights_s == pytest.approx(one.outcome.step.weights_s / 4)
    assert one.outcome.step.link_s == 0 < four.outcome.step.link_s


def test_more_ranks_than_key_value_heads_hold_heads_twice():
    assert ask(tp=16).memory.kv == ask(tp=8).memory.kv


def test_a_lone_sequence_wakes_few_experts_and_a_batch_all_of_them():
    alone, crowd = ask(MIXTRAL, tp=2), ask(MIXTRAL, tp=2, batch=64)
    dense = ask(MIXTRAL, tp=2).memory.weights * 2
    read = alone.outcome.step.weights_s * 2 * H100.bandwidth_bytes_per_s * PRIOR.mbu
    assert read == pytest.approx(MIXTRAL.active_params * 2, rel=1e-9)
    assert crowd.outcome.step.weights_s * 2 * H100.bandwidth_bytes_per_s * PRIOR.mbu == pytest.approx(dense, rel=1e-6)


def test_a_pipeline_halves_the_memory_and_keeps_the_latency_of_one_sequence():
    one, two = ask(), ask(pp=2)
    assert two.memory.weights == one.memory.weights / 2
    assert two.tpot_s == pytest.approx(one.tpot_s, rel=0.01)
    crowd, shared = ask(batch=64), ask(batch=64, pp=2)
    assert shared.tpot_s < crowd.tpot_s


def test_a_static_batch_pays_all_prefills_before_its_first_token():
    static, continuous = ask(batch=16, scheduler="static"), ask(batch=16)
    assert static.ttft_s == static.outcome.whole.total_s > continuous.outcome.own.total_s
    assert static.tpot_s == static.outcome.step.total_s < continuous.tpot_s


def test_arrays_give_what_scalars_give_one_by_one():
    batch, prompt = np.array([1.0, 2.0, 7.0, 64.0])[:, None], np.array([1.0, 100.0, 5000.0])
    workload = Workload(prompt_tokens=prompt, output_tokens=33, prefix_hit=0.25)
    for serving in ({}, {"tp": 2.0}, {"pp": 2.0}, {"scheduler": "static"}):
        grid = ask(MIXTRAL, batch=batch, workload=workload, **serving)
        for i, j in np.ndindex(4, 3):
            one = ask(
                MIXTRAL,
                batch=float(batch[i, 0]),
                workload=Workload(prompt_tokens=float(prompt[j]), output_tokens=33, prefix_hit=0.25),
                **serving,
            )
            for name in METRICS:
                value = np.broadcast_to(getattr(grid, name), (4, 3))[i, j]
                # a lone place of the batch has no other to wait for; the array form computes that as a zero share
                assert value == pytest.approx(getattr(one, name), rel=1e-9), name
            assert np.broadcast_to(grid.bound, (4, 3))[i, j] == one.bound


def test_scalars_stay_plain_floats():
    found = ask(batch=4)
    assert all(type(getattr(found, name)) is float for name in METRICS)
    assert found.bound in BOUNDS
    assert found.fits is True


@given(st.floats(0.01, 0.99), st.floats(0.001, 0.009))
def test_a_higher_level_gives_a_wider_interval_around_the_value(level, more):
    found = ask()
    for name in METRICS:
        low, high = found.interval(name, level)
        wide_low, wide_high = found.interval(name, level + more)
        assert wide_low <= low <= getattr(found, name) < high < wide_high


def test_no_prediction_and_no_interval_beats_the_printed_limits():
    eager = replace(IDEAL, mbu=3.0, mfu=3.0, layer=0.0, layer_prefill=0.0, sigma=0.5)
    bound, found = ask(efficiency=FREE, batch=4), ask(efficiency=eager, batch=4)
    assert found.tpot_s >= bound.outcome.step.weights_s
    assert found.interval("tpot_s")[0] == found.tpot_s == found.outcome.least.tpot_s
    assert found.interval("ttft_s", 0.99)[0] >= found.outcome.least.ttft_s


def test_certain_efficiencies_leave_no_interval_of_time():
    low, high = ask(efficiency=IDEAL).interval("tpot_s")
    assert low == high


def test_one_unsure_efficiency_moves_the_time_that_depends_on_it():
    covariance = np.zeros((len(NAMES), len(NAMES)))
    covariance[NAMES.index("mbu"), NAMES.index("mbu")] = (
        0.1**2
    )  # log standard deviation of the bandwidth share for weights
    half = replace(FREE, mbu=0.5, mbu_kv=0.5, covariance=covariance)
    found = ask(efficiency=half, workload=Workload(prompt_tokens=1))
    low, high = found.interval("tpot_s", 0.9)
    assert math.log(high / low) == pytest.approx(2 * 1.6449 * 0.1, rel=0.01)


@pytest.mark.parametrize("level", [0, 1, -1, 2, float("nan")])
def test_a_level_that_is_no_probability_is_refused(level):
    with pytest.raises(InputError, match="level is"):
        ask().interval("tpot_s", level)


def test_an_unknown_metric_is_refused_with_near_misses():
    with pytest.raises(UnknownNameError, match="Did you mean tpot_s"):
        ask().interval("tpot")


def test_what_does_not_fit_says_by_how_much_and_what_would():
    found = ask(model("llama-3.1-70b"))
    assert not found.fits
    assert found.headroom_bytes < 0
    with pytest.raises(
        DoesNotFitError, match=r"llama-3.1-70b needs 14\d\.\d GB of memory on nvidia-h100-sxm, which has"
    ):
        found.require_fit()
    with pytest.raises(DoesNotFitError, match="weights in fp8; or tp 2"):
        found.require_fit()


@settings(max_examples=20, deadline=None)
@given(st.integers(200, 3000))
def test_the_batch_that_is_offered_fits_and_one_more_does_not(batch):
    with pytest.raises(DoesNotFitError) as caught:
        ask(batch=batch, workload=Workload(prompt_tokens=8192)).require_fit()
    offered = int(str(caught.value).split("batch ")[1].split(" ")[0])
    assert ask(batch=offered, workload=Workload(prompt_tokens=8192)).fits
    assert not ask(batch=offered + 1, workload=Workload(prompt_tokens=8192)).fits


def test_a_design_that_fits_passes():
    found = ask()
    assert found.require_fit() is found


def a_device(**changes):
    figures = {
        "name": "made-up", "title": "Made up", "tier": "cloud", "device_class": "gpu", "vendor": "nobody",
        "memory_bytes": 100e9, "bandwidth_bytes_per_s": 1e12, "peak_flop_per_s": {"bf16": 1e14},
        "source": "made up for a test", "checked": date(2026, 1, 1),
    }  # fmt: skip
    return Device(**(figures | changes))


def test_an_unknown_power_limit_gives_no_energy_and_no_guess():
    found = ask(on=a_device())
    assert found.j_per_token is None
    with pytest.raises(InputError, match="made-up has no power limit"):
        found.interval("j_per_token")
    assert found.to_dict()["metrics"]["j_per_token"] is None


def test_several_devices_without_a_known_link_are_refused():
    assert ask(on=a_device()).fits
    with pytest.raises(MissingFigureError, match="made-up has no link_bytes_per_s"):
        ask(on=a_device(), tp=2)


def test_weights_of_a_microcontroller_must_fit_its_flash_and_the_rest_its_sram():
    tiny = model("gpt2")
    roomy = a_device(tier="tinyml", device_class="mcu", memory_bytes=64e6, flash_bytes=1e9, link_bytes_per_s=1e9)
    found = ask(tiny, roomy, workload=Workload(prompt_tokens=16, output_tokens=16))
    assert found.fits
    assert found.memory.weights == 0
    assert found.memory.flash == tiny.params * 2
    small_flash = ask(tiny, replace(roomy, flash_bytes=1e6), workload=Workload(prompt_tokens=16, output_tokens=16))
    with pytest.raises(DoesNotFitError, match=r"gpt2 needs .* of flash on made-up, which has 1\.000 MB"):
        small_flash.require_fit()
    small_sram = ask(tiny, replace(roomy, memory_bytes=1e4), workload=Workload(prompt_tokens=16, output_tokens=16))
    with pytest.raises(DoesNotFitError, match=r"gpt2 needs .* of memory on made-up"):
        small_sram.require_fit()


@given(st.integers(1, 512))
def test_energy_lies_between_rest_and_full_load(batch):
    found = ask(batch=batch)
    watts = found.j_per_token * found.output_tokens_per_s
    assert 0.05 * H100.tdp_w <= watts <= H100.tdp_w * (1 + 1e-9)


def test_the_price_of_tokens_is_rent_over_rate():
    design = Design(model=LLAMA, device=H100, serving=Serving(batch=16, tp=2, replicas=3))
    found = predict(design, efficiency=PRIOR, usd_per_hour=2.5)
    assert found.usd_per_m_output_tokens == pytest.approx(6 * 2.5 / 3600 / found.output_tokens_per_s * 1e6)
    low, high = found.interval("usd_per_m_output_tokens")
    slow, fast = found.interval("output_tokens_per_s")
    assert high / low == pytest.approx(fast / slow)
    with pytest.raises(InputError, match="no hourly rate was given"):
        ask().interval("usd_per_m_output_tokens")


def test_a_question_of_arrays_has_no_dictionary():
    with pytest.raises(InputError, match="use sweep"):
        ask(batch=[1, 2]).to_dict()


def test_designs_that_are_asked_again_keep_their_numbers_and_others_do_not_get_them():
    for _ in range(600):  # more than are kept
        assert ask(batch=2).tpot_s == ask(batch=2).tpot_s
    assert ask(MIXTRAL).tpot_s != ask(LLAMA).tpot_s


def test_many_threads_get_the_numbers_of_their_own_designs():
    from concurrent.futures import ThreadPoolExecutor

    batches = list(range(1, 400))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda batch: ask(batch=batch).tpot_s, batches))
    assert found == [ask(batch=batch).tpot_s for batch in batches]


@pytest.mark.parametrize("name", ["h100", "l40s", "rtx-4090", "b200"])
@pytest.mark.parametrize("weights", ["bf16", "fp8"])
def test_no_device_draws_more_than_its_power_limit(name, weights):
    batch = np.array([1.0, 16.0, 64.0, 256.0])
    found = predict(Design(model=LLAMA, device=device(name), serving=Serving(weights=weights, batch=batch)), Workload())
    assert np.all(found.j_per_token * found.output_tokens_per_s <= device(name).figure("tdp_w") * (1.0 + 1e-9))
