from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reckoner.catalogue.find import device, model
from reckoner.design import Design
from reckoner.errors import InputError
from reckoner.simulate import Continuous, lognormal, poisson, simulate
from reckoner.simulate.fitting import Observed, efficiency_at, first_answers, fit
from reckoner.simulate.server import server_of

DESIGN = Design(model=model("llama-3.1-8b"), device=device("h100"))
SCHEDULER = Continuous(max_seqs=64)


def test_three_scalars_are_recovered_from_the_first_answers_of_a_run_that_they_made():
    arrivals = poisson(12.0, lognormal(800.0, 200.0), n=150, seed=1)
    begun = efficiency_at(DESIGN, arrivals)
    truth = replace(
        begun,
        mfu=begun.mfu * 0.8,
        mfu_decode=begun.mfu_decode * 0.8,
        mbu=begun.mbu * 0.7,
        mbu_kv=begun.mbu_kv * 0.7,
        layer=begun.layer * 1.3,
        layer_prefill=begun.layer_prefill * 1.3,
    )
    real = simulate(server_of(DESIGN, efficiency=truth, scheduler=SCHEDULER), arrivals)
    tpot = (real.finish_s - real.first_s) / np.maximum(real.output_tokens - 1, 1)
    observed = Observed(ttft_s=real.latency_s("ttft"), tpot_s=np.maximum(tpot, 1e-9), e2e_s=real.latency_s("e2e"))
    fitted = fit(DESIGN, arrivals, observed, first=40, scheduler=SCHEDULER)
    mine = simulate(server_of(DESIGN, efficiency=fitted, scheduler=SCHEDULER), arrivals)
    rest = np.setdiff1d(np.arange(150), first_answers(arrivals, observed, 40))
    for q in (0.5, 0.9, 0.99):
        for metric, within in (("ttft", 0.1), ("e2e", 0.03)):
            measured = np.quantile(real.latency_s(metric)[rest], q)
            assert np.quantile(mine.latency_s(metric)[rest], q) == pytest.approx(measured, rel=within)


def test_too_few_answers_and_times_that_are_not_above_zero_are_refused():
    arrivals = poisson(12.0, lognormal(800.0, 200.0), n=30, seed=1)
    with pytest.raises(InputError, match="first is 5"):
        fit(DESIGN, arrivals, Observed(ttft_s=np.ones(30), tpot_s=np.ones(30), e2e_s=np.ones(30)), first=5)
    with pytest.raises(InputError, match="an observed time is 0 s"):
        fit(DESIGN, arrivals, Observed(ttft_s=np.zeros(30), tpot_s=np.ones(30), e2e_s=np.ones(30)), first=20)
