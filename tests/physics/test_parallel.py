import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.physics import amdahl, availability, parallel

payloads = st.floats(1, 1e12)
ranks = st.integers(1, 1024)
links = st.floats(1e6, 1e13)
latencies = st.floats(0, 1e-3)


@given(payloads, links, latencies)
def test_one_rank_has_nothing_to_say(payload, link, latency):
    for function in (
        parallel.ring_all_reduce_s,
        parallel.tree_all_reduce_s,
        parallel.all_gather_s,
        parallel.all_to_all_s,
        parallel.all_reduce_s,
    ):
        assert function(payload, 1, link, latency) == 0


@given(payloads, st.integers(2, 512), links)
def test_a_ring_all_reduce_moves_what_each_rank_must_send(payload, n, link):
    # by hand: N - 1 rounds of reduce-scatter and N - 1 of all-gather, one N-th of the payload each
    sent = sum(payload / n for _ in range(n - 1)) * 2
    assert parallel.ring_all_reduce_s(payload, n, link) == pytest.approx(sent / link, rel=1e-9)


@given(payloads, ranks, links, latencies, st.floats(1, 100))
def test_a_faster_link_never_slows_a_collective(payload, n, link, latency, factor):
    for function in (parallel.all_reduce_s, parallel.all_gather_s, parallel.all_to_all_s):
        assert function(payload, n, link * factor, latency) <= function(payload, n, link, latency)


@given(st.integers(3, 10), links)
def test_the_tree_wins_small_payloads_and_the_ring_large_ones(log_n, link):
    n = 2**log_n
    small, large = 1.0, 1e15
    assert parallel.tree_all_reduce_s(small, n, link, 1e-3) < parallel.ring_all_reduce_s(small, n, link, 1e-3)
    assert parallel.ring_all_reduce_s(large, n, link, 1e-9) < parallel.tree_all_reduce_s(large, n, link, 1e-9)


@given(st.integers(1, 256), st.integers(1, 256))
def test_the_ranks_together_hold_every_head(heads, tp):
    each = parallel.kv_heads_per_rank(heads, tp)
    assert each >= 1
    assert each * tp >= heads


@given(st.integers(1, 64), st.integers(1, 512))
def test_the_bubble_is_the_idle_share_of_the_schedule(stages, microbatches):
    whole = parallel.pipeline_s(1.0, stages, microbatches)
    assert parallel.pipeline_bubble(stages, microbatches) == pytest.approx(1 - microbatches / whole, abs=1e-12)


def test_tensor_parallelism_sends_two_messages_a_layer():
    assert parallel.tensor_parallel_bytes(32, 1, 4096, 2) == 2 * 32 * 4096 * 2
    assert parallel.expert_parallel_bytes(58, 1, 7168, 2, 8) == 8 * parallel.tensor_parallel_bytes(58, 1, 7168, 2)


@given(st.integers(1, 16), st.floats(0.01, 1), st.integers(1, 16), st.floats(0.1, 100), st.floats(0, 1))
def test_disaggregation_is_held_by_its_slower_side(n_prefill, prefill, n_decode, decode, transfer):
    rate = parallel.disaggregated_per_s(n_prefill, prefill, n_decode, decode, transfer)
    assert rate <= n_decode * decode
    assert rate <= n_prefill / prefill * (1 + 1e-12)
    assert parallel.disaggregated_per_s(n_prefill + 1, prefill, n_decode + 1, decode, transfer) >= rate


@given(st.floats(0, 1), st.floats(1, 1e6))
def test_amdahl_lies_between_one_and_both_limits(serial, workers):
    s = amdahl.speedup(serial, workers)
    assert 1 - 1e-12 <= s <= workers * (1 + 1e-9)
    assert serial == 0 or s <= 1 / serial * (1 + 1e-9) or math.isinf(1 / serial)


def test_amdahl_is_a_ratio_of_times():
    assert amdahl.speedup(0.25, 4) == 1 / (0.25 + 0.75 / 4)


@given(st.floats(0, 1e12), st.floats(1e6, 1e13), st.floats(0, 1e-2))
def test_a_transfer_takes_its_latency_and_grows_with_what_is_sent(payload, link, latency):
    assert parallel.transfer_s(0.0, link, latency) == latency
    one, two = (parallel.transfer_s(n * payload, link, latency) - latency for n in (1, 2))
    assert two == pytest.approx(2 * one, abs=1e-12)
    assert parallel.transfer_s(payload, 2 * link, latency) <= parallel.transfer_s(payload, link, latency)


@given(st.integers(0, 7), st.integers(1, 7), st.floats(0.01, 0.99))
def test_copies_in_service_are_counted_over_every_pattern_of_failures(needed, total, each):
    patterns = ([bool(which >> i & 1) for i in range(total)] for which in range(2**total))
    exact = sum(math.prod(each if up else 1 - each for up in pattern) for pattern in patterns if sum(pattern) >= needed)
    assert availability.k_of_n(needed, total, each) == pytest.approx(exact, abs=1e-12)
