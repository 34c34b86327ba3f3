from __future__ import annotations

import numpy as np
import pytest

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving, Workload
from reckoner.physics.energy import power_w
from reckoner.predict.efficiency import PRIOR
from reckoner.predict.prediction import predict
from reckoner.simulate import Continuous, Server, closed_loop, fixed, poisson, simulate
from reckoner.simulate.cost import limit_cost, linear_cost, step_cost

DESIGN = Design(model=model("llama-3.1-8b"), device=device("h100"), serving=Serving(batch=32.0))
WORKLOAD = Workload(prompt_tokens=512.0, output_tokens=256.0)


@pytest.mark.parametrize("efficiency", [None, PRIOR])
def test_a_full_server_draws_what_the_predictor_says(efficiency):
    predicted = predict(DESIGN, WORKLOAD, **({} if efficiency is None else {"efficiency": efficiency}))
    predicted_w = float(predicted.j_per_token) * float(predicted.output_tokens_per_s)
    found = simulate(DESIGN, closed_loop(32, fixed(512, 256), n=640, seed=1), efficiency=efficiency)
    middle = found.series.power_w[len(found.series) // 4 : len(found.series) // 2]
    assert middle.mean() == pytest.approx(predicted_w, rel=0.1)


def test_power_lies_between_rest_and_work_and_energy_is_its_integral():
    cost = linear_cost(base_s=0.02, token_s=1e-5)
    half = linear_cost(base_s=0.01, token_s=5e-6)
    server = Server(cost=cost, limit=half, scheduler=Continuous(), idle_w=100.0, tdp_w=700.0, devices=1)
    found = simulate(server, poisson(3.0, fixed(100, 20), n=2000, seed=1), usd_per_hour=3.6)
    series = found.series
    assert np.allclose(series.power_w, power_w(100.0, 700.0, 0.5 * series.utilisation))
    assert found.joules_per_request * 2000 == pytest.approx(series.power_w.sum() * series.width_s)
    assert found.usd_per_request == pytest.approx(found.makespan_s * 0.001 / 2000)
    assert series.usd_per_s[0] == pytest.approx(0.001)


def test_a_server_at_rest_draws_its_idle_power():
    found = simulate(DESIGN, poisson(0.001, fixed(64, 2), n=50, seed=1))
    assert found.energy_j / found.makespan_s == pytest.approx(float(DESIGN.device.idle_w or 70.0), rel=0.05)


def test_learned_steps_never_undercut_the_printed_limits():
    sizes = {"max_seqs": 64, "tokens": 2048}
    cost, limit = step_cost(DESIGN, **sizes), limit_cost(DESIGN, **sizes)
    assert np.all(cost.decode_s >= limit.decode_s)
    assert np.all(cost.pass_s >= limit.pass_s)
    assert cost.kappa_s >= limit.kappa_s
