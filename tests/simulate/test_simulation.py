from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving, Slo, Workload
from reckoner.errors import DoesNotFitError, InputError, UnknownNameError
from reckoner.predict.combine import decode_parts
from reckoner.predict.efficiency import PRIOR
from reckoner.predict.plan import prepare
from reckoner.predict.terms import Limits, terms
from reckoner.predict.work import decode_work
from reckoner.quantiles import ends, percentile_of, quantile
from reckoner.simulate import (
    Arrivals,
    Continuous,
    Server,
    Static,
    StepCost,
    capacity,
    chunks_of,
    closed_loop,
    fewest,
    fixed,
    poisson,
    search,
    sessions,
    simulate,
    streamed,
)
from reckoner.simulate.cost import linear_cost, step_cost
from reckoner.simulate.server import server_of

COST = linear_cost(base_s=0.01, sequence_s=0.0001, token_s=1e-5, kappa_s=1e-9)
SERVER = Server(cost=COST, scheduler=Continuous())
DESIGN = Design(model=model("llama-3.1-8b"), device=device("h100"))


def test_a_request_alone_costs_its_prefill_and_its_steps():
    lone = Arrivals(arrival_s=np.array([3.0]), prompt_tokens=np.array([100]), output_tokens=np.array([5]))
    found = simulate(Server(cost=linear_cost(base_s=0.01, token_s=1e-5), scheduler=Continuous()), lone)
    assert found.latency_s("ttft")[0] == pytest.approx(0.011)
    assert found.latency_s("tpot")[0] == pytest.approx(0.01)
    assert found.latency_s("e2e")[0] == pytest.approx(0.051)


def test_steps_cost_what_the_predictor_says_where_reading_binds():
    cost = step_cost(DESIGN, PRIOR)
    plan = prepare(DESIGN)
    limits = Limits(
        bandwidth_bytes_per_s=plan.bandwidth_bytes_per_s,
        peak_flop_per_s=plan.peak_flop_per_s,
        link_bytes_per_s=plan.link_bytes_per_s,
    )
    for batch, context in ((1, 100.0), (8, 2000.0), (64, 1000.0)):
        predicted = decode_parts(terms(decode_work(plan.shape, float(batch), context), limits), PRIOR).total_s
        assert cost.decode_s[batch] + cost.kappa_s * batch * context == pytest.approx(predicted, rel=0.02)


@given(st.floats(0.05, 0.95), st.integers(0, 50))
def test_intervals_hold_the_quantile_as_often_as_they_say(q, seed):
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(60):
        p = percentile_of(rng.uniform(size=400), q)
        hits += p.low <= q <= p.high
    assert hits >= 44  # 60 draws at 90 % or more: fewer than 44 once in 10,000


def test_intervals_of_waits_that_are_alike_hold_the_long_run_where_counting_them_as_independent_does_not():
    # M/D/1 at 90 %: waits of one busy period are alike. The truth is that of a run fifty times as long.
    server = Server(cost=linear_cost(base_s=0.0, token_s=0.0001, max_seqs=1), scheduler=Continuous(max_seqs=1))
    long = simulate(server, poisson(9.0, fixed(1000, 1), n=400_000, seed=99))
    truth = quantile(long.latency_s("queue"), 0.9)
    hits = naive = 0
    for seed in range(60):
        found = simulate(server, poisson(9.0, fixed(1000, 1), n=4000, seed=seed))
        p = found.percentile("queue", 0.9)
        ordered = np.sort(found.latency_s("queue"))
        low, high = ends(4000, 4000.0, 0.9)
        hits += p.low <= truth <= p.high
        naive += ordered[low] <= truth <= ordered[high]
        assert p.independent < 2000
    assert naive < 30  # says 90 %
    assert hits >= 42


def test_a_p99_of_too_few_requests_is_refused_with_the_number_it_takes():
    found = simulate(SERVER, poisson(5.0, fixed(100, 10), n=50, seed=1))
    with pytest.raises(InputError, match="P99 of ttft from 50 requests is no number; it takes 299"):
        found.percentile("ttft", 0.99)
    assert found.to_dict()["latency"]["ttft_s"]["p99"] is None
    with pytest.raises(UnknownNameError, match="ttft"):
        found.percentile("tfft", 0.5)


def test_a_request_larger_than_the_cache_is_rejected_and_the_rest_go_on():
    server = Server(cost=COST, scheduler=Continuous(), kv_tokens=160)
    prompts = np.array([100, 500, 100])
    found = simulate(
        server, Arrivals(arrival_s=np.arange(3.0), prompt_tokens=prompts, output_tokens=np.array([5, 5, 5]))
    )
    assert found.rejected.tolist() == [1]
    assert len(found) == 2
    assert not found.meets(Slo(e2e_p99_s=100.0))
    with pytest.raises(InputError, match="every request is larger than the cache of 160 tokens"):
        simulate(server, Arrivals(arrival_s=np.zeros(1), prompt_tokens=prompts[1:2], output_tokens=np.array([5])))


def test_turns_after_a_rejected_one_are_dropped_and_counted():
    server = Server(cost=COST, scheduler=Continuous(), kv_tokens=320)
    found = simulate(server, sessions(1.0, fixed(100, 20), n=3, seed=1, turns=4))
    assert (len(found), len(found.rejected), found.dropped) == (6, 6, 0)


def test_overload_is_said_with_its_size_and_a_stable_queue_is_not():
    alone = Server(cost=linear_cost(base_s=0.0, token_s=0.0001, max_seqs=1), scheduler=Continuous(max_seqs=1))
    lengths = fixed(1000, 1)  # served in a tenth of a second
    for rate in (1.0, 5.0, 8.0):
        assert simulate(alone, poisson(rate, lengths, n=4000, seed=2)).overload is None
    found = simulate(alone, poisson(20.0, lengths, n=4000, seed=2))
    assert found.overload == pytest.approx(2.0, rel=0.1)


def test_tokens_time_and_cache_in_the_series_add_up():
    server = Server(cost=COST, scheduler=Continuous(max_seqs=32), kv_tokens=20_000, replicas=2)
    found = simulate(server, poisson(30.0, fixed(200, 40), n=2000, seed=1))
    series, width = found.series, found.series.width_s
    assert series.input_tokens_per_s.sum() * width == pytest.approx(2000 * 200)
    assert series.output_tokens_per_s.sum() * width == pytest.approx(2000 * 39)  # the prefill yields the first
    assert np.all(series.utilisation <= 1.0 + 1e-9)
    assert np.all(series.kv_share <= 1.0 + 1e-9)
    inside = (series.sequences + series.waiting).sum() * width
    assert inside == pytest.approx((found.finish_s - found.arrival_s).sum(), rel=0.02)  # Little's law


def test_power_lies_between_rest_and_limit_and_dollars_follow_the_devices():
    found = simulate(DESIGN, poisson(20.0, fixed(512, 128), n=1000, seed=1), usd_per_hour=3.6)
    watts = found.energy_j / (len(found.series) * found.series.width_s)
    assert server_of(DESIGN).idle_w < watts < DESIGN.device.tdp_w
    assert found.usd_per_request == pytest.approx(0.001 * found.makespan_s / 1000)


def test_goodput_counts_requests_that_keep_every_limit():
    found = simulate(SERVER, poisson(20.0, fixed(100, 20), n=2000, seed=1))
    limit = float(np.median(found.latency_s("ttft")))
    assert found.share_within(Slo(ttft_p99_s=limit)) == pytest.approx(0.5, abs=0.01)
    assert found.goodput(Slo(ttft_p99_s=1e-9)) == 0.0
    assert found.goodput(Slo(ttft_p99_s=1e9)) == pytest.approx(found.requests_per_s)


def test_a_closed_loop_keeps_its_number_of_clients_busy():
    found = simulate(SERVER, closed_loop(16, fixed(100, 50), n=2000, seed=1))
    inside = found.latency_s("e2e").sum() / found.makespan_s
    assert inside == pytest.approx(16.0, rel=0.02)


def test_capacity_lies_where_the_limit_breaks_and_more_replicas_carry_more():
    slo = Slo(ttft_p99_s=0.5, tpot_p99_s=0.03)
    workload = Workload(prompt_tokens=512.0, output_tokens=64.0)
    one = capacity(DESIGN, workload, slo, n=1500, seeds=3)
    assert one.low <= one.requests_per_s <= one.high
    below = simulate(DESIGN, poisson(0.97 * one.by_seed[0], fixed(512, 64), n=1500, seed=0))
    above = simulate(DESIGN, poisson(1.05 * one.by_seed[0], fixed(512, 64), n=1500, seed=0))
    assert below.meets(slo)
    assert not above.meets(slo)
    two = capacity(
        Design(model=DESIGN.model, device=DESIGN.device, serving=Serving(replicas=2)), workload, slo, n=1500, seeds=1
    )
    assert two.requests_per_s > 1.7 * one.requests_per_s


def test_a_promise_that_no_rate_keeps_is_refused_by_how_much():
    with pytest.raises(InputError, match=r"no rate meets the SLO .* ttft P99 is .* limit 0.0001 s"):
        capacity(DESIGN, Workload(), Slo(ttft_p99_s=1e-4), n=300, seeds=1)
    with pytest.raises(InputError, match="limits no latency"):
        capacity(DESIGN, Workload(), Slo(max_power_w=500.0))
    with pytest.raises(InputError, match="takes at least 299"):
        capacity(DESIGN, Workload(), Slo(ttft_p99_s=1.0), n=50)


def test_one_replica_fewer_breaks_the_limit_and_spares_reach_the_availability():
    slo = Slo(ttft_p99_s=0.3, availability=0.9999)
    load = poisson(150.0, fixed(512, 128), n=6000, seed=1)
    found = fewest(DESIGN, load, slo, replica_availability=0.99)
    assert found.availability >= 0.9999
    assert found.devices == found.needed + found.spares
    server = server_of(DESIGN, replicas=found.needed)
    assert found.simulation.server.name == server.name  # counts the replicas
    assert simulate(server, load).meets(slo)
    assert not simulate(server_of(DESIGN, replicas=found.needed - 1), load).meets(slo)
    assert fewest(DESIGN, load, slo, headroom=0.5).needed > found.needed


class Serial:
    """The part of an executor that search() needs."""

    def map(self, function, tasks):
        return map(function, tasks)


def test_search_orders_designs_by_price_and_says_why_some_carry_nothing():
    found = search(
        Design(model=model("llama-3.1-70b"), device=device("h100")),
        Workload(prompt_tokens=512.0, output_tokens=64.0),
        Slo(ttft_p99_s=1.0),
        executor=Serial(),
        usd_per_hour={"nvidia-h100-sxm": 2.5},
        tp=[1, 4, 8],
    )
    assert {row.axes["tp"] for row in found[:2]} == {4, 8}
    assert found[0].usd_per_m_requests <= found[1].usd_per_m_requests
    assert "before any cache" in found[2].why_not
    with pytest.raises(UnknownNameError, match="no axis named 'tensor'"):
        search(DESIGN, Workload(), Slo(ttft_p99_s=1.0), executor=Serial(), tensor=[1])


def test_a_pool_of_processes_finds_what_one_process_finds():
    from concurrent.futures import ThreadPoolExecutor

    asked = (DESIGN, Workload(prompt_tokens=512.0, output_tokens=64.0), Slo(ttft_p99_s=1.0))
    pool, serial = search(*asked, weights=["bf16", "fp8"]), search(*asked, executor=Serial(), weights=["bf16", "fp8"])
    with ThreadPoolExecutor(2) as threads:
        threaded = search(*asked, executor=threads, weights=["bf16", "fp8"])
    assert pool == serial == threaded


def test_answers_of_one_token_keep_any_limit_on_gaps():
    found = simulate(SERVER, poisson(5.0, fixed(100, 1), n=400, seed=1))
    assert found.meets(Slo(tpot_p99_s=1e-9))
    assert found.share_within(Slo(tpot_p99_s=1e-9)) == 1.0
    with pytest.raises(InputError, match="P99 of tpot from 0 requests"):
        found.percentile("tpot", 0.99)


def test_bad_servers_and_schedulers_are_refused():
    for call, said in (
        (lambda: Continuous(max_seqs=0), "max_seqs is 0"),
        (lambda: Continuous(max_seqs=512, token_budget=256), "below max_seqs 512"),
        (lambda: Continuous(watermark=1.0), "watermark is 1.0"),
        (lambda: Static(batch=0), "batch is 0"),
        (lambda: Server(cost=COST, scheduler=Continuous(max_seqs=300)), "257 entries for up to 300"),
        (lambda: StepCost(decode_s=np.array([0.0, -1.0]), pass_s=np.zeros(2)), "decode_s holds -1.0"),
        (
            lambda: step_cost(Design(model=DESIGN.model, device=DESIGN.device, serving=Serving(draft_tokens=2))),
            "draft_tokens is 2; leave it at 0 and let the server draft",
        ),
        (
            lambda: simulate(Server(cost=COST, scheduler=Static()), closed_loop(2, fixed(1, 1), n=4, seed=0)),
            "open loops",
        ),
    ):
        with pytest.raises(InputError, match=said):
            call()
    with pytest.raises(UnknownNameError, match="random"):
        Continuous(routing="random")
    with pytest.raises(DoesNotFitError, match="before any cache"):
        server_of(Design(model=model("llama-3.1-70b"), device=device("h100")))


def test_a_front_delays_its_own_request_and_what_its_client_sends_next_and_nobody_else():
    bare = Server(cost=linear_cost(base_s=0.01, token_s=1e-5), scheduler=Continuous())
    late = replace(bare, front_s=0.25, front_token_s=1e-3)
    loop = closed_loop(1, fixed(100, 5), n=3, seed=0, think_s=0.0)
    one, other = simulate(bare, loop), simulate(late, loop)
    assert other.latency_s("ttft") == pytest.approx(one.latency_s("ttft") + 0.35)
    assert other.latency_s("tpot") == pytest.approx(one.latency_s("tpot"))
    assert other.arrival_s == pytest.approx(one.arrival_s + 0.35 * np.arange(3))
    crowd = poisson(50.0, fixed(100, 20), n=300, seed=1)
    apart = simulate(late, crowd, events=True)
    assert apart.latency_s("e2e") == pytest.approx(simulate(bare, crowd).latency_s("e2e") + 0.35)
    assert sum(run.total_s for run in apart.gaps_of(7)) == pytest.approx(float(apart.finish_s[7] - apart.first_s[7]))
    told = streamed(late, chunks_of(crowd))
    assert told.point("ttft", 0.5) == pytest.approx(apart.point("ttft", 0.5), rel=0.005)
    with pytest.raises(InputError, match="front_s is -1"):
        replace(bare, front_s=-1.0)
