"""Combination: terms and efficiencies become seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.predict.combine import closed_loop_ttft_s, decode_parts, prefill_parts
from reckoner.predict.efficiency import IDEAL, PRIOR
from reckoner.predict.terms import Terms

SECONDS = st.floats(1e-6, 10.0)
SHARE = st.floats(0.05, 1.0)


def some(weights=0.004, kv=0.001, compute=0.002, layers=0.0004, link=0.0002):
    return Terms(weights_s=weights, kv_s=kv, compute_s=compute, layers_s=layers, link_s=link)


@given(SECONDS, SECONDS, SECONDS)
def test_a_pass_takes_at_least_its_slower_resource_and_at_most_both(weights, kv, compute):
    total = decode_parts(some(weights, kv, compute, 0.0, 0.0), IDEAL).total_s
    assert max(weights + kv, compute) <= total * (1 + 1e-12)
    assert total <= (weights + kv + compute) * (1 + 1e-12)


@given(SHARE, SHARE)
def test_a_better_efficiency_never_slows_a_step(low, high):
    low, high = sorted((low, high))
    for name in ("mbu", "mbu_kv", "mfu_decode", "link"):
        slow = decode_parts(some(), replace(PRIOR, **{name: low})).total_s
        fast = decode_parts(some(), replace(PRIOR, **{name: high})).total_s
        assert fast <= slow


def test_fixed_costs_and_links_add_to_the_roofline():
    bare = decode_parts(some(layers=0.0, link=0.0), IDEAL).total_s
    assert decode_parts(some(), IDEAL).total_s == pytest.approx(bare + 0.0006)


def test_a_prefill_has_its_own_compute_share_and_layer_cost():
    eff = replace(IDEAL, mfu=0.5, layer_prefill=3.0)
    found = prefill_parts(some(weights=0.0, kv=0.0, link=0.0), eff)
    assert found.total_s == pytest.approx(0.002 / 0.5 + 3 * 0.0004)


@given(SECONDS, SECONDS, st.floats(0.0, 10.0))
def test_the_first_token_waits_at_least_for_its_own_prefill(prefill, step, foreign):
    assert closed_loop_ttft_s(prefill, step, foreign, 100.0, 1.0) >= prefill


def test_without_other_clients_there_is_no_queue():
    assert closed_loop_ttft_s(0.1, 0.02, 0.0, 100.0, 5.0) == pytest.approx(0.11)
