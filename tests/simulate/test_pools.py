from __future__ import annotations

import numpy as np
import pytest
from stepping import step_by_step

from reckoner.errors import InputError
from reckoner.simulate import (
    Arrivals,
    Continuous,
    Server,
    closed_loop,
    disaggregated,
    fixed,
    lognormal,
    poisson,
    simulate,
)
from reckoner.simulate.cost import linear_cost

COST = linear_cost(base_s=0.01, sequence_s=1e-4, token_s=1e-4, kappa_s=1e-8, max_seqs=64)
POOL = Server(cost=COST, scheduler=Continuous(max_seqs=64))


def test_a_request_alone_is_read_moved_and_written():
    lone = Arrivals(arrival_s=np.array([2.0]), prompt_tokens=np.array([100]), output_tokens=np.array([4]))
    flat = Server(cost=linear_cost(base_s=0.01, token_s=1e-4), scheduler=Continuous())
    found = disaggregated(flat, flat, lone, token_s=1e-5, latency_s=0.002)
    assert found.latency_s("ttft")[0] == pytest.approx(0.02)
    first_there_s = 0.0101  # a chunk of one token
    assert found.latency_s("e2e")[0] == pytest.approx(0.02 + 0.002 + 0.001 + first_there_s + 2 * 0.01)


def test_both_pools_equal_the_stepping_reference_under_preemption():
    arrivals = poisson(25.0, lognormal(40.0, 30.0), n=150, seed=3)
    tight = Server(cost=COST, scheduler=Continuous(max_seqs=16, token_budget=64, block_tokens=4), kv_tokens=520)
    found = disaggregated(POOL, tight, arrivals, token_s=1e-6)
    assert found.decode.preemptions > 20
    written = step_by_step(tight, found.decode.arrivals)
    np.testing.assert_allclose(found.decode.finish_s, [r.finish for r in written], rtol=0.0, atol=1e-9)


def test_prompts_that_are_read_elsewhere_do_not_hold_up_decodes():
    arrivals = poisson(12.0, fixed(600, 60), n=2000, seed=1)
    together = simulate(Server(cost=COST, scheduler=Continuous(max_seqs=64), replicas=2), arrivals)
    apart = disaggregated(POOL, POOL, arrivals, token_s=1e-7)
    assert apart.percentile("tpot", 0.99).value < together.percentile("tpot", 0.99).value


def test_what_two_pools_cannot_serve_is_refused():
    small = Server(cost=COST, scheduler=Continuous(max_seqs=64), kv_tokens=320)
    mixed = Arrivals(arrival_s=np.zeros(2), prompt_tokens=np.array([10, 900]), output_tokens=np.array([5, 5]))
    for call, said in (
        (lambda: disaggregated(POOL, POOL, closed_loop(2, fixed(1, 2), n=4, seed=0), token_s=0.0), "open loops"),
        (lambda: disaggregated(POOL, POOL, poisson(1.0, fixed(5, 1), n=4, seed=0), token_s=0.0), "no request"),
        (lambda: disaggregated(POOL, POOL, mixed, token_s=-1.0), "token_s is -1.0"),
        (lambda: disaggregated(POOL, small, mixed, token_s=0.0), "1 requests are larger than the cache"),
    ):
        with pytest.raises(InputError, match=said):
            call()
