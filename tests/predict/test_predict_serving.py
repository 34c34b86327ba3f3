import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving, Workload
from reckoner.errors import InputError
from reckoner.predict.efficiency import PRIOR
from reckoner.predict.prediction import predict
from reckoner.predict.serving import closed_loop_times, open_loop_times, static_times

DESIGN = Design(model=model("llama-3.1-8b"), device=device("h100"), serving=Serving(batch=64))
seconds = st.floats(1e-5, 1.0)


def ask(rate, *, design=DESIGN, prompt=512, output=128):
    workload = Workload(prompt_tokens=prompt, output_tokens=output, requests_per_s=rate)
    return predict(design, workload, efficiency=PRIOR)


@given(seconds, seconds, st.integers(1, 4000))
def test_one_place_is_a_static_batch_of_one(step, own, output):
    assert closed_loop_times(step, own, own, own, 1.0, output, 1.0) == static_times(step, own, output)


def test_the_time_inside_and_the_number_inside_obey_little_s_law():
    for rate in (0.1, 1.0, 5.0, 9.0):
        times, inside = open_loop_times(lambda b: 0.005 + 0.0002 * b, 0.03, 0.02, rate, 256.0, 100.0)
        assert inside == pytest.approx(rate * times.e2e_s, abs=256 * 2.0**-40)


def test_a_server_with_a_steady_step_is_an_m_d_1_queue_of_prefills():
    times, _ = open_loop_times(lambda b: 0.0 * b, 0.1, 0.1, 5.0, 1000.0, 1.0)
    assert times.ttft_s == pytest.approx(0.1 + 0.5 * 0.1 * 0.5 / 0.5)  # service + rho s / (2 (1 - rho))


def test_rare_requests_see_an_empty_server():
    rare, alone = (
        ask(1e-6),
        predict(
            Design(model=DESIGN.model, device=DESIGN.device),
            Workload(prompt_tokens=512, output_tokens=128),
            efficiency=PRIOR,
        ),
    )
    assert rare.ttft_s == pytest.approx(alone.ttft_s, rel=1e-3)
    assert rare.tpot_s == pytest.approx(alone.tpot_s, rel=1e-3)


@settings(deadline=None)
@given(st.floats(0.01, 15), st.floats(1.01, 1.5))
def test_more_arrivals_never_make_a_request_faster(rate, factor):
    before, after = ask(rate), ask(rate * factor)
    assert after.e2e_s >= before.e2e_s * (1 - 1e-9)
    assert after.ttft_s >= before.ttft_s * (1 - 1e-9)


def test_what_arrives_is_served_until_the_full_batch_is_the_limit():
    full = predict(DESIGN, Workload(prompt_tokens=512, output_tokens=128), efficiency=PRIOR)
    light, heavy = ask(2.0), ask(1000.0)
    assert light.requests_per_s == 2.0
    assert light.interval("requests_per_s") == (2.0, 2.0)
    assert not light.overloaded
    assert heavy.overloaded
    assert heavy.requests_per_s == pytest.approx(full.requests_per_s)
    assert (heavy.ttft_s, heavy.e2e_s) == (math.inf, math.inf)
    assert math.isfinite(heavy.tpot_s)


def test_an_overloaded_server_has_no_interval_of_waiting_and_null_in_json():
    heavy = ask(1000.0)
    with pytest.raises(InputError, match="requests arrive faster than they are served"):
        heavy.interval("ttft_s")
    found = heavy.to_dict()
    assert found["overloaded"] is True
    assert found["metrics"]["ttft_s"] is None
    assert found["metrics"]["tpot_s"]["value"] == heavy.tpot_s


def test_replicas_share_the_arrivals():
    two = Design(model=DESIGN.model, device=DESIGN.device, serving=Serving(batch=64, replicas=2))
    assert ask(6.0, design=two).e2e_s == pytest.approx(ask(3.0).e2e_s)
    assert ask(6.0, design=two).requests_per_s == 6.0


def test_arrays_of_rates_mix_open_and_closed_loops():
    rates = np.array([0.0, 0.5, 5.0, 1000.0])
    together = ask(rates)
    for i, rate in enumerate(rates):
        one = ask(float(rate))
        for name in ("ttft_s", "tpot_s", "e2e_s", "requests_per_s", "j_per_token"):
            assert getattr(together, name)[i] == pytest.approx(getattr(one, name), rel=1e-9), (name, rate)


def test_idle_time_costs_energy_too():
    assert ask(0.1).j_per_token > ask(5.0).j_per_token
