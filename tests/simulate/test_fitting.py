from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reckoner.catalogue.find import device, model
from reckoner.design import Design
from reckoner.errors import InputError
from reckoner.simulate import Continuous, Simulation, lognormal, poisson, simulate
from reckoner.simulate.fitting import BEGUN, Observed, first_answers, fit
from reckoner.simulate.prior import Front
from reckoner.simulate.server import server_of

DESIGN = Design(model=model("llama-3.1-8b"), device=device("h100"))
SCHEDULER = Continuous(max_seqs=64)
TRUTH = replace(BEGUN, mfu=0.56, mfu_decode=0.56, mbu=0.49, mbu_kv=0.49, layer=1.3, layer_prefill=1.3)

FRONT = Front(seconds=0.06, token_s=2e-6, sd=0.0)


def seen(real: Simulation) -> Observed:
    tpot = (real.finish_s - real.first_s) / np.maximum(real.output_tokens - 1, 1)
    return Observed(ttft_s=real.latency_s("ttft"), tpot_s=np.maximum(tpot, 1e-9), e2e_s=real.latency_s("e2e"))


def test_scalars_and_front_are_recovered_from_the_first_answers_of_a_run_that_they_made():
    arrivals = poisson(12.0, lognormal(800.0, 200.0), n=150, seed=1)
    real = simulate(server_of(DESIGN, efficiency=TRUTH, scheduler=SCHEDULER, front=FRONT), arrivals)
    observed = seen(real)
    found = fit(DESIGN, arrivals, observed, first=40, scheduler=SCHEDULER)
    server = server_of(DESIGN, efficiency=found.efficiency, scheduler=SCHEDULER, front=found.front)
    mine = simulate(server, arrivals)
    rest = np.setdiff1d(np.arange(150), first_answers(arrivals, observed, 40))
    for q in (0.5, 0.9, 0.99):
        for metric, within in (("ttft", 0.1), ("e2e", 0.03)):
            measured = np.quantile(real.latency_s(metric)[rest], q)
            assert np.quantile(mine.latency_s(metric)[rest], q) == pytest.approx(measured, rel=within)


def test_a_cache_that_is_smaller_than_memory_suggests_shows_in_the_first_answers():
    small = Design(model=model("llama-3.1-8b"), device=device("rtx-4090"))
    scheduler = Continuous(max_seqs=256, token_budget=2048)
    arrivals = poisson(6.0, lognormal(800.0, 500.0, output_cv=0.3), n=150, seed=3)
    suggested = server_of(small, efficiency=TRUTH, scheduler=scheduler).kv_tokens
    assert suggested is not None
    tokens = int(0.93 * suggested)
    real = simulate(server_of(small, efficiency=TRUTH, scheduler=scheduler, kv_tokens=tokens), arrivals)
    assert real.preemptions > 50
    fitted = fit(small, arrivals, seen(real), first=60, scheduler=scheduler)
    assert fitted.kv_tokens == pytest.approx(tokens, rel=0.015)
    stated = fit(small, arrivals, seen(real), first=60, scheduler=scheduler, kv_tokens=suggested)
    assert stated.kv_tokens == suggested
    assert fitted.misfit < 0.5 * stated.misfit


def test_too_few_answers_and_times_that_are_not_above_zero_are_refused():
    arrivals = poisson(12.0, lognormal(800.0, 200.0), n=30, seed=1)
    with pytest.raises(InputError, match="first is 5"):
        fit(DESIGN, arrivals, Observed(ttft_s=np.ones(30), tpot_s=np.ones(30), e2e_s=np.ones(30)), first=5)
    with pytest.raises(InputError, match="an observed time is 0 s"):
        fit(DESIGN, arrivals, Observed(ttft_s=np.zeros(30), tpot_s=np.ones(30), e2e_s=np.ones(30)), first=20)
