"""Terms: what each resource takes alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.predict.terms import HOP_S, LAYER_S, Limits, Work, terms

WORK = Work(weight_bytes=16e9, kv_bytes=1e9, flops=2e12, n_layers=32.0, tokens=8.0, hidden=4096.0)


def limits(**changes: float) -> Limits:
    base = {"bandwidth_bytes_per_s": 2e12, "peak_flop_per_s": 1e15, "link_bytes_per_s": 4e11}
    return Limits(**(base | changes))


def test_each_resource_takes_its_amount_over_its_limit():
    found = terms(WORK, limits())
    assert (found.weights_s, found.kv_s, found.compute_s) == (0.008, 0.0005, 0.002)
    assert found.layers_s == pytest.approx(32 * LAYER_S)


def test_more_kernels_cost_launches_and_nothing_else():
    assert terms(WORK._replace(kernels=1.5), limits()) == terms(WORK, limits())._replace(layers_s=48 * LAYER_S)


def test_a_single_device_sends_nothing():
    assert terms(WORK, limits()).link_s == 0.0


@given(st.sampled_from([2.0, 4.0, 8.0]))
def test_tensor_parallel_ranks_pay_a_hop_for_each_doubling_and_the_wire(tp):
    found = terms(WORK, limits(sharers=tp, tp=tp))
    hops = 2 * 32 * HOP_S * np.log2(tp)
    wire = 2 * 32 * 2 * (tp - 1) / tp * 2 * 4096 * 8 / 4e11
    assert found.link_s == pytest.approx(hops + wire)
    assert found.weights_s == pytest.approx(0.008 / tp)


def test_terms_of_a_grid_equal_the_terms_of_its_points():
    tp = np.array([1.0, 2.0, 8.0])
    grid = terms(WORK, limits(sharers=tp, tp=tp))
    for i, ranks in enumerate(tp):
        one = terms(WORK, limits(sharers=float(ranks), tp=float(ranks)))
        assert np.asarray(grid.link_s)[i] == pytest.approx(one.link_s)
        assert np.asarray(grid.weights_s)[i] == pytest.approx(one.weights_s)
