"""Pipelines: as many micro-batches are on the way as there are stages, each stage busy with one of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving, Workload
from reckoner.physics.parallel import pipeline_bubble, pipeline_s, transfer_s
from reckoner.predict.efficiency import IDEAL, PRIOR
from reckoner.predict.prediction import predict
from reckoner.predict.terms import ACTIVATION_BYTES, HOP_S
from reckoner.simulate import Arrivals, Continuous, closed_loop, fixed, poisson, simulate
from reckoner.simulate.cost import step_cost
from reckoner.simulate.server import server_of

MODEL, DEVICE = model("llama-3.1-70b"), device("h100")


def design(pp, **more):
    return Design(model=MODEL, device=DEVICE, serving=Serving(weights="fp8", tp=2, pp=pp, **more))


def lone(pp, efficiency=PRIOR):
    one = Arrivals(arrival_s=np.zeros(1), prompt_tokens=np.array([1000]), output_tokens=np.array([50]))
    return simulate(design(pp), one, efficiency=efficiency)


def test_a_lone_request_passes_every_stage_and_pays_every_hop():
    tables = {pp: step_cost(design(pp), PRIOR) for pp in (1, 4)}
    hop_s = transfer_s(ACTIVATION_BYTES * MODEL.hidden, DEVICE.link_bytes_per_s, HOP_S)
    each = replace(PRIOR, layer=1.0, layer_prefill=1.0)
    assert tables[4].decode_s[1] - tables[1].decode_s[1] == pytest.approx(3 * hop_s / PRIOR.link, rel=1e-6)
    # As physics has it: one micro-batch through four stages of a quarter of the layers.
    bare = {pp: step_cost(design(pp), replace(IDEAL, layer=0.0)).decode_s[1] for pp in (1, 4)}
    assert bare[4] == pytest.approx(pipeline_s(bare[1] / 4, 4, 1, hop_s / IDEAL.link), rel=1e-9)
    assert lone(4, each).latency_s("e2e")[0] > lone(1, each).latency_s("e2e")[0]


@pytest.mark.parametrize("inside", [1, 2, 3, 4])
def test_stages_idle_while_there_are_fewer_micro_batches_than_stages(inside):
    found = simulate(design(4), closed_loop(inside, fixed(512, 64), n=40 * inside, seed=1), efficiency=PRIOR)
    steady = found.series.utilisation[: len(found.series) * 3 // 4]
    assert steady.mean() == pytest.approx(inside / 4, rel=0.02)
    if inside == 1:  # filled and drained for each micro-batch, it idles as physics says
        assert 1.0 - steady.mean() == pytest.approx(pipeline_bubble(4, 1), rel=0.01)


@pytest.mark.parametrize("batch", [64, 256])
def test_a_full_pipeline_yields_what_the_predictor_says(batch):
    asked = design(4, batch=batch)
    workload = Workload(prompt_tokens=512.0, output_tokens=256.0)
    predicted = predict(asked, workload, efficiency=PRIOR)
    found = simulate(
        asked,
        closed_loop(batch, fixed(512, 256), n=8 * batch, seed=1),
        efficiency=PRIOR,
        scheduler=Continuous(max_seqs=256),
    )
    assert found.output_tokens_per_s == pytest.approx(float(predicted.output_tokens_per_s), rel=0.15)


def test_layers_are_shared_out_and_so_are_cache_seats_and_devices():
    one, four = server_of(design(1)), server_of(design(4))
    assert (one.devices, four.devices, four.lanes) == (2, 8, 4)
    assert four.seats == one.seats / 4 == 256
    # Weights of a stage leave more room, and each token of cache takes a quarter of it.
    assert four.kv_tokens > 4 * one.kv_tokens
    found = simulate(four, poisson(20.0, fixed(512, 64), n=500, seed=1))
    assert sorted(set(found.replica.tolist())) == [0, 1, 2, 3]
    assert found.series.utilisation.max() <= 1.0 + 1e-9
    assert found.series.power_w.max() <= 8 * DEVICE.tdp_w
