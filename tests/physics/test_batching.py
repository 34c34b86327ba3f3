import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.physics import batching

times = st.floats(1e-6, 10)
counts = st.integers(1, 5000)


@given(times, st.floats(0, 1e-3), counts, st.integers(1, 300))
def test_generation_equals_stepping_every_token(base, per_token, context, steps):
    stepped = math.fsum(base + per_token * (context + i) for i in range(steps))
    assert batching.generation_s(base, per_token, context, steps) == pytest.approx(stepped, rel=1e-12)


def test_capacity_follows_the_published_shape():
    # H100, 8B: 165 tokens/s at batch 1; the same step shared by 128 gives nearly 128 times as much
    step = 1 / 165
    alone = batching.capacity_per_s(0.0, step, 100, 1) * 100
    shared = batching.capacity_per_s(0.0, 128 / 10_000, 100, 128) * 100
    assert alone == pytest.approx(165)
    assert shared == pytest.approx(10_000)


@given(times, times, st.integers(2, 2000), st.integers(1, 512))
def test_a_closed_loop_obeys_little_s_law(prefill, step, output, batch):
    rate = batching.capacity_per_s(prefill, step, output, batch)
    # a lifetime holds every client's prefill once and output steps
    assert batching.response_s(batch, rate) == pytest.approx(batch * prefill + output * step, rel=1e-9)


@given(times, times, st.integers(2, 2000))
def test_one_client_waits_for_nobody(prefill, step, output):
    assert batching.closed_loop_tpot_s(prefill, step, output, 1) == step


@given(times, times, counts)
def test_a_batch_of_one_token_is_its_prefill(prefill, step, output):
    assert batching.static_batch_s(prefill, step, 1) == prefill
    assert batching.static_batch_s(prefill, step, output + 1) > batching.static_batch_s(prefill, step, output) - 1e-12


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.floats(1, 1e10))
def test_the_largest_batch_fits_and_one_more_does_not(memory, fixed, sequence):
    n = batching.largest_batch(memory, fixed, sequence)
    assert n == 0 or fixed + n * sequence <= memory * (1 + 1e-12)
    assert fixed + (n + 1) * sequence > memory * (1 - 1e-12)
