from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.design import Slo
from reckoner.errors import InputError, UnknownNameError
from reckoner.simulate import (
    Continuous,
    PrefillFirst,
    Server,
    Static,
    chunks_of,
    closed_loop,
    fixed,
    gamma,
    gamma_chunks,
    lognormal,
    poisson,
    simulate,
    streamed,
)
from reckoner.simulate.cost import linear_cost
from reckoner.simulate.sketch import RELATIVE_ERROR, Sketch

COST = linear_cost(base_s=0.01, sequence_s=0.0002, token_s=1e-4, kappa_s=1e-6, max_seqs=16)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([Continuous, PrefillFirst]),
    st.integers(1, 200),
    st.integers(0, 10**6),
    st.sampled_from([None, 2000]),
    st.sampled_from([("round-robin", 1), ("round-robin", 3), ("least-loaded", 3)]),
)
def test_a_run_in_chunks_is_the_whole_run_to_the_last_bit(kind, chunk, seed, cache, routing):
    scheduler = kind(max_seqs=16, token_budget=256, routing=routing[0], whole_prompt=bool(seed % 2))
    server = Server(cost=COST, scheduler=scheduler, kv_tokens=cache, replicas=routing[1], devices=routing[1])
    arrivals = gamma(9.0, lognormal(300.0, 60.0, longest=900), n=300, seed=seed, cv=1.5)
    slo = Slo(ttft_p99_s=0.5, tpot_p99_s=0.05)
    whole, found = simulate(server, arrivals), streamed(server, chunks_of(arrivals, chunk), slo=slo)
    for metric in ("queue", "ttft", "tpot", "e2e"):
        assert np.array_equal(found.sketch(metric).counts, Sketch.of(whole.latency_s(metric)).counts)
    assert np.array_equal(found.sketch("itl").counts, whole.gaps.counts)
    assert (len(found), found.refused, found.preemptions) == (len(whole), len(whole.rejected), whole.preemptions)
    assert (found.tokens_out, found.steps, found.events) == (whole.tokens_out, whole.steps, whole.events)
    assert found.makespan_s == whole.makespan_s
    assert np.array_equal(found.series.utilisation, whole.series.utilisation)
    assert found.share_within(slo) == pytest.approx(whole.share_within(slo))


def test_arrivals_in_chunks_are_those_drawn_at_once():
    drawn = gamma(7.0, fixed(100, 20), n=1000, seed=3, cv=2.0)
    chunks = list(gamma_chunks(7.0, fixed(100, 20), n=1000, seed=3, cv=2.0, chunk=77).chunks)
    assert np.array_equal(np.concatenate([chunk.arrival_s for chunk in chunks]), drawn.arrival_s)
    mixed = lognormal(300.0, 60.0)
    (one,) = gamma_chunks(7.0, mixed, n=1000, seed=3, chunk=1000).chunks
    assert np.array_equal(one.prompt_tokens, poisson(7.0, mixed, n=1000, seed=3).prompt_tokens)


@given(st.lists(st.floats(1e-9, 1e5), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_a_sketch_knows_every_quantile_to_its_relative_error(values, q):
    numbers = np.array(values)
    exact = np.sort(numbers)[max(0, int(np.ceil(len(values) * q - 1e-9)) - 1)]
    assert Sketch.of(numbers).quantile(q) == pytest.approx(exact, rel=RELATIVE_ERROR)


@given(st.lists(st.floats(0.0, 1e5), max_size=50), st.lists(st.floats(0.0, 1e5), max_size=50))
def test_merged_sketches_are_the_sketch_of_all(first, second):
    merged = Sketch.of(np.array(first))
    merged.merge(Sketch.of(np.array(second)))
    assert np.array_equal(merged.counts, Sketch.of(np.array([*first, *second])).counts)


def test_percentiles_of_a_stream_hold_those_of_the_whole_run():
    server = Server(cost=COST, scheduler=Continuous(max_seqs=16))
    arrivals = poisson(12.0, lognormal(300.0, 30.0), n=20_000, seed=2)
    whole, found = simulate(server, arrivals), streamed(server, chunks_of(arrivals, 500))
    for metric in ("queue", "ttft", "tpot", "e2e"):
        ours, exact = found.percentile(metric, 0.99), whole.percentile(metric, 0.99)
        assert ours.value == pytest.approx(exact.value, rel=RELATIVE_ERROR)
        assert ours.relative_error == RELATIVE_ERROR
        assert ours.low <= ours.value <= ours.high
        assert ours.independent == pytest.approx(exact.independent, rel=0.5)
    assert found.percentile("itl", 0.99).n == whole.gaps.n
    with pytest.raises(UnknownNameError, match="ttft"):
        found.percentile("tfft", 0.5)
    with pytest.raises(InputError, match="requests of a stream are not kept"):
        found.share_within(Slo(ttft_p99_s=1.0))


def test_what_is_open_is_all_that_a_stream_holds(monkeypatch):
    server = Server(cost=COST, scheduler=Continuous(max_seqs=16))
    assert streamed(server, gamma_chunks(10.0, fixed(100, 20), n=20_000, seed=1, chunk=1000)).most_open < 100
    monkeypatch.setattr("reckoner.simulate.stream.MOST_OPEN", 2000)
    with pytest.raises(InputError, match=r"so demand is 2\.\d\d times what server serves"):
        streamed(server, gamma_chunks(100.0, fixed(100, 20), n=20_000, seed=1, chunk=1000))


def test_a_stream_says_overload_and_counts_what_never_fits():
    server = Server(cost=COST, scheduler=Continuous(max_seqs=16), kv_tokens=1000)
    found = streamed(server, gamma_chunks(100.0, fixed(100, 20), n=4000, seed=1, chunk=100))
    assert found.overload == pytest.approx(simulate(server, poisson(100.0, fixed(100, 20), n=4000, seed=1)).overload)
    long = gamma(5.0, lognormal(300.0, 60.0, longest=2000), n=500, seed=1, cv=1.0)
    assert streamed(server, chunks_of(long, 50)).refused == len(simulate(server, long).rejected) > 0
    with pytest.raises(InputError, match="every request is larger"):
        streamed(server, chunks_of(poisson(1.0, fixed(5000, 1), n=10, seed=1), 5))


def test_closed_loops_and_batches_are_not_streamed():
    with pytest.raises(InputError, match="a stream is an open loop"):
        chunks_of(closed_loop(2, fixed(10, 2), n=10, seed=0))
    with pytest.raises(InputError, match="cannot be streamed through"):
        streamed(Server(cost=COST, scheduler=Static()), gamma_chunks(1.0, fixed(10, 2), n=10, seed=0))
    with pytest.raises(InputError, match=r"a latency is -1\.0"):
        Sketch.of(np.array([1.0, -1.0]))
    with pytest.raises(InputError, match="a quantile of nothing"):
        Sketch().quantile(0.5)
