"""The event simulator against the stepping reference, request by request."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stepping import batch_by_batch, step_by_step

from reckoner.quantiles import quantile
from reckoner.simulate import (
    Continuous,
    Dynamic,
    PrefillFirst,
    Server,
    Static,
    closed_loop,
    empirical,
    gamma,
    sessions,
    simulate,
)
from reckoner.simulate.cost import StepCost
from reckoner.simulate.sketch import RELATIVE_ERROR

WITHIN_S = 1e-9


def costs(rng, seats, *, dyadic):
    """Random increasing tables; with ``dyadic`` every sum is exact, so that ties are decided alike."""
    decode = np.cumsum(rng.uniform(0.0, 0.004, seats + 1)) + 0.004
    passes = np.cumsum(rng.uniform(0.0, 0.001, 40)) + 0.006
    slopes = rng.uniform(0.0, 1e-4, 3)
    if dyadic:
        decode, passes, slopes = (np.ceil(v * 2**14) / 2**14 for v in (decode, passes, slopes))
    kappa, pair, tail = slopes
    return StepCost(decode_s=decode, pass_s=passes, kappa_s=kappa, pair_s=2 * pair, tail_s=tail)


def lengths(rng, longest):
    return empirical(rng.integers(1, longest + 1, 50), rng.integers(1, longest + 1, 50))


def same(found, reference):
    for name, mine in (
        ("arrival", found.arrival_s),
        ("started", found.started_s),
        ("first", found.first_s),
        ("finish", found.finish_s),
    ):
        np.testing.assert_allclose(mine, [getattr(r, name) for r in reference], rtol=0.0, atol=WITHIN_S, err_msg=name)
    assert found.preempted.tolist() == [r.preempted for r in reference]
    assert found.replica.tolist() == [r.replica for r in reference]


def same_gaps(server, arrivals, reference):
    """Every gap of every request, as runs and in the sketch of them all."""
    found = simulate(server, arrivals, events=True)
    every = []
    for row, request in enumerate(reference):
        mine = np.concatenate([run.spread() for run in found.gaps_of(row)] or [np.zeros(0)])
        np.testing.assert_allclose(mine, np.diff(request.told), rtol=0.0, atol=WITHIN_S)
        every.append(mine)
    gaps = np.concatenate(every)
    assert found.gaps.n == len(gaps)
    if len(gaps):
        for q in (0.1, 0.5, 0.99):
            assert found.gaps.quantile(q) == pytest.approx(
                quantile(gaps, q), rel=3.01 * RELATIVE_ERROR
            )  # a gap on an edge
    assert np.array_equal(found.finish_s, simulate(server, arrivals).finish_s)


@st.composite
def schedulers(draw):
    seats = draw(st.integers(1, 12))
    kind = draw(st.sampled_from([Continuous, PrefillFirst]))
    return kind(
        max_seqs=seats,
        token_budget=draw(st.integers(seats, 80)),
        block_tokens=draw(st.sampled_from([1, 2, 3, 4, 8, 16])),
        watermark=draw(st.sampled_from([0.0, 0.05])),
        whole_prompt=draw(st.booleans()),
        recall=draw(st.booleans()),
        routing=draw(st.sampled_from(["round-robin", "least-loaded", "prefix-aware"])),
    )


def tight_cache(scheduler, longest_request, rng):
    """A cache that holds the longest request, and little more."""
    blocks = -(-longest_request // scheduler.block_tokens) + int(rng.integers(2, 12))
    return scheduler.block_tokens * int(np.ceil(blocks / (1.0 - scheduler.watermark)) + 1)


@settings(max_examples=150, deadline=None)
@given(schedulers(), st.integers(0, 10**6), st.booleans(), st.sampled_from([None, "tight"]), st.integers(1, 3))
def test_open_loops_equal_the_stepping_reference(scheduler, seed, dyadic, cache, replicas):
    rng = np.random.default_rng(seed)
    cost = costs(rng, scheduler.max_seqs, dyadic=dyadic)
    longest = int(rng.integers(2, 40))
    rate = float(rng.uniform(2.0, 60.0))
    arrivals = gamma(rate, lengths(rng, longest), n=60, seed=seed, cv=float(rng.choice([0.0, 1.0, 2.0])))
    kv = None if cache is None else tight_cache(scheduler, 2 * longest, rng)
    server = Server(cost=cost, scheduler=scheduler, kv_tokens=kv, replicas=replicas)
    reference = step_by_step(server, arrivals)
    same(simulate(server, arrivals), reference)
    same_gaps(server, arrivals, reference)


@settings(max_examples=80, deadline=None)
@given(schedulers(), st.integers(0, 10**6), st.sampled_from([None, "tight"]), st.integers(1, 3), st.booleans())
def test_closed_loops_and_sessions_equal_the_stepping_reference(scheduler, seed, cache, replicas, talk):
    rng = np.random.default_rng(seed)
    cost = costs(rng, scheduler.max_seqs, dyadic=False)
    drawn = lengths(rng, 12)
    think_s = float(rng.choice([0.0, 0.05]))
    if talk:
        arrivals = sessions(float(rng.uniform(1.0, 30.0)), drawn, n=12, seed=seed, turns=4, think_s=think_s)
    else:
        gap_s = float(rng.choice([0.0, 0.003]))
        arrivals = closed_loop(7, drawn, n=50, seed=seed, think_s=think_s, start_gap_s=gap_s)
    longest = int((arrivals.prompt_tokens + arrivals.output_tokens).max())
    kv = None if cache is None else tight_cache(scheduler, longest, rng)
    server = Server(cost=cost, scheduler=scheduler, kv_tokens=kv, replicas=replicas)
    reference = step_by_step(server, arrivals)
    same(simulate(server, arrivals), reference)
    same_gaps(server, arrivals, reference)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9),
    st.sampled_from([None, 0.0, 0.05, 0.5]),
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.booleans(),
)
def test_batches_equal_the_stepping_reference(batch, wait_s, seed, replicas, tight):
    rng = np.random.default_rng(seed)
    arrivals = gamma(float(rng.uniform(2.0, 60.0)), lengths(rng, 30), n=50, seed=seed, cv=1.0)
    scheduler = Static(batch=batch) if wait_s is None else Dynamic(batch=batch, max_wait_s=wait_s)
    kv = 90 if tight else None
    server = Server(cost=costs(rng, batch, dyadic=False), scheduler=scheduler, kv_tokens=kv, replicas=replicas)
    reference = batch_by_batch(server, arrivals)
    same(simulate(server, arrivals), reference)
    same_gaps(server, arrivals, reference)


@pytest.mark.parametrize("kind", [Continuous, PrefillFirst])
def test_thousands_of_preemptions_equal_the_stepping_reference(kind):
    rng = np.random.default_rng(7)
    scheduler = kind(max_seqs=24, token_budget=64, block_tokens=4, whole_prompt=False)
    arrivals = gamma(40.0, lengths(rng, 60), n=1200, seed=3, cv=1.5)
    server = Server(cost=costs(rng, 24, dyadic=False), scheduler=scheduler, kv_tokens=160)
    found = simulate(server, arrivals)
    assert found.preemptions > 1000
    reference = step_by_step(server, arrivals)
    same(found, reference)
    same_gaps(server, arrivals, reference)
