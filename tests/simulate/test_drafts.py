from __future__ import annotations

import numpy as np
import pytest
from stepping import step_by_step

from reckoner.errors import InputError
from reckoner.physics.speculation import speedup
from reckoner.simulate import Arrivals, Continuous, Server, Static, fixed, lognormal, poisson, simulate, speculative
from reckoner.simulate.cost import linear_cost
from reckoner.simulate.drafts import compressed

PLAIN = Server(cost=linear_cost(base_s=0.01, token_s=0.0, kappa_s=1e-7), scheduler=Continuous(max_seqs=64))


def test_a_lone_stream_speeds_up_as_theory_says():
    lone = Arrivals(arrival_s=np.zeros(1), prompt_tokens=np.array([100]), output_tokens=np.array([40_001]))
    flat = Server(cost=linear_cost(base_s=0.01, token_s=0.0), scheduler=Continuous())
    quick = speculative(flat, acceptance=0.7, draft_tokens=4, draft_s=0.001)
    gain = simulate(flat, lone).latency_s("tpot")[0] / simulate(quick, lone).latency_s("tpot")[0]
    assert gain == pytest.approx(speedup(0.7, 4, 0.1), rel=1e-3)


def test_no_accepted_draft_costs_what_drafting_costs():
    arrivals = poisson(5.0, fixed(100, 50), n=500, seed=1)
    slower = speculative(PLAIN, acceptance=0.0, draft_tokens=2, draft_s=0.001)
    plain, found = simulate(PLAIN, arrivals), simulate(slower, arrivals)
    assert found.latency_s("tpot").mean() == pytest.approx(plain.latency_s("tpot").mean() + 0.002, rel=1e-3)


def test_speculating_servers_equal_the_stepping_reference_on_their_steps():
    scheduler = Continuous(max_seqs=16, token_budget=64, block_tokens=4)
    cost = linear_cost(base_s=0.01, sequence_s=1e-4, token_s=1e-4, kappa_s=1e-6, max_seqs=16)
    server = speculative(Server(cost=cost, scheduler=scheduler, kv_tokens=520), acceptance=0.6, draft_tokens=3)
    arrivals = poisson(80.0, lognormal(40.0, 30.0), n=150, seed=3)
    found = simulate(server, arrivals)
    reference = step_by_step(server, compressed(arrivals, server.tokens_per_step))
    np.testing.assert_allclose(found.finish_s, [r.finish for r in reference], rtol=0.0, atol=1e-9)
    assert found.preemptions > 0
    assert found.output_tokens.tolist() == arrivals.output_tokens.tolist()


def test_mean_context_is_kept():
    arrivals = poisson(20.0, lognormal(400.0, 300.0), n=200, seed=3)
    short = compressed(arrivals, 2.7)
    mine = short.prompt_tokens + short.output_tokens / 2.0
    assert np.all(np.abs(mine - (arrivals.prompt_tokens + arrivals.output_tokens / 2.0)) <= 1.0)


def test_bad_drafts_are_refused():
    for call, said in (
        (lambda: speculative(PLAIN, acceptance=1.5, draft_tokens=2), "acceptance is 1.5"),
        (lambda: speculative(PLAIN, acceptance=0.5, draft_tokens=0), "draft_tokens 0"),
        (lambda: speculative(Server(cost=PLAIN.cost, scheduler=Static()), acceptance=0.5, draft_tokens=1), "cannot"),
    ):
        with pytest.raises(InputError, match=said):
            call()
