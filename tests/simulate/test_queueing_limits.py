"""Where the engine degenerates to a textbook queue, the textbook's formula must come out."""

from __future__ import annotations

import numpy as np
import pytest

from reckoner.physics.queueing import md1_wait_s, mm1_sojourn_quantile_s, mm1_sojourn_s, mmc_wait_s
from reckoner.simulate import Continuous, Server, Static, fixed, poisson, simulate
from reckoner.simulate.cost import StepCost, linear_cost

N = 400_000
WITHIN = 0.03  # of means over 400,000 requests at 70-80 % load, whose waits are long correlated


def exponential_answers(mean):
    def draw(rng, n):
        return np.ones(n, np.int32), np.maximum(1, np.rint(rng.exponential(mean, n))).astype(np.int32)

    return draw


def exponential_prompts(mean):
    def draw(rng, n):
        return np.maximum(1, np.rint(rng.exponential(mean, n))).astype(np.int32), np.ones(n, np.int32)

    return draw


@pytest.mark.parametrize("scheduler", [Continuous(max_seqs=1), Static(batch=1, max_wait_s=0.0)])
def test_one_seat_and_equal_prompts_are_an_m_d_1_queue(scheduler):
    cost = linear_cost(base_s=0.0, token_s=0.0001, max_seqs=1)
    found = simulate(Server(cost=cost, scheduler=scheduler), poisson(8.0, fixed(1000, 1), n=N, seed=1))
    assert found.latency_s("queue").mean() == pytest.approx(md1_wait_s(8.0, 0.1), rel=WITHIN)


def test_one_seat_and_exponential_prompts_are_an_m_m_1_queue():
    cost = linear_cost(base_s=0.0, token_s=1e-5, max_seqs=1)
    server = Server(cost=cost, scheduler=Continuous(max_seqs=1, token_budget=1_000_000))
    found = simulate(server, poisson(7.0, exponential_prompts(10_000), n=N, seed=2))
    assert found.latency_s("e2e").mean() == pytest.approx(mm1_sojourn_s(7.0, 0.1), rel=WITHIN)
    assert found.percentile("e2e", 0.99).value == pytest.approx(mm1_sojourn_quantile_s(7.0, 0.1, 0.99), rel=2 * WITHIN)


def test_seats_that_do_not_slow_each_other_are_an_m_m_c_queue():
    seats, mean_s, steps = 5, 1.0, 2000
    cost = StepCost(decode_s=np.full(seats + 1, mean_s / steps), pass_s=np.full(2, mean_s / steps))
    server = Server(cost=cost, scheduler=Continuous(max_seqs=seats))
    found = simulate(server, poisson(4.0, exponential_answers(steps), n=N, seed=3))
    # An arrival also waits for half a step on average until the next one begins.
    expected = mmc_wait_s(seats, 4.0, mean_s)
    assert found.latency_s("queue").mean() - 0.5 * mean_s / steps == pytest.approx(expected, rel=WITHIN)


def test_replicas_with_one_seat_and_the_least_loaded_first_wait_less_than_taking_turns():
    cost = linear_cost(base_s=0.0, token_s=1e-5, max_seqs=1)
    waits = {}
    for routing in ("round-robin", "least-loaded"):
        server = Server(cost=cost, scheduler=Continuous(max_seqs=1, token_budget=10**6, routing=routing), replicas=4)
        found = simulate(server, poisson(32.0, exponential_prompts(10_000), n=100_000, seed=4))
        waits[routing] = found.latency_s("queue").mean()
    assert waits["least-loaded"] < 0.7 * waits["round-robin"]
