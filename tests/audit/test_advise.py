"""Advice passes when it is audited again, or says why nothing does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reckoner.audit.advise import advise, moves_of
from reckoner.audit.brief import brief
from reckoner.audit.plan import Plan, ServedTier
from reckoner.audit.plan_file import parse_plan, plan_to_toml
from reckoner.audit.run import audit
from reckoner.design import Slo


@pytest.fixture(scope="module")
def for_the_brief():
    """Advice on the brief; it takes seconds."""
    return advise(brief())


def test_the_brief_has_a_reachable_feasible_design(for_the_brief):
    best = for_the_brief.best
    assert best is not None
    assert audit(parse_plan(plan_to_toml(best.audit.plan))).feasible is True
    assert for_the_brief.looked_at >= 10_000
    assert moves_of(brief(), best.audit.plan) == best.moves


def test_every_alternative_passes_and_none_beats_another(for_the_brief):
    options = for_the_brief.alternatives
    assert for_the_brief.best == options[0]
    for option in options:
        assert option.audit.feasible is True
        assert len(option.moves) >= len(for_the_brief.best.moves)
    for a in options[1:]:
        assert not any(
            b.usd_per_request < a.usd_per_request and b.tightest < a.tightest and b.served_params > a.served_params
            for b in options
        )


def small(slo: Slo, **changes) -> Plan:
    """A plan of one tier with a known drift."""
    tier = ServedTier(**({"share": 1.0, "model": "llama-3.1-8b", "device": "h100", "output_tokens": 64} | changes))
    return Plan(name="small", slo=slo, tiers={"cloud": tier}, drift=replace(brief().drift, retrain_days=1.0))


def test_a_plan_that_passes_is_left_alone():
    found = advise(small(Slo(requests_per_s=0.1, e2e_p99_s=5.0)))
    assert found.best is not None
    assert found.best.moves == ()


def test_too_little_capacity_takes_one_move():
    found = advise(small(Slo(requests_per_s=50.0, e2e_p99_s=5.0, availability=0.99), batch=32, replicas=1))
    assert found.best is not None
    assert len(found.best.moves) == 1
    assert found.best.moves[0].field in ("replicas", "device", "batch", "weights")


def test_without_a_promised_latency_capacity_alone_decides():
    found = advise(small(Slo(requests_per_s=50.0, availability=0.99), batch=32), models=())
    assert found.best is not None
    assert len(found.best.moves) == 1
    assert found.best.audit.feasible is True


def test_another_scheduler_is_one_move():
    promise = Slo(requests_per_s=40.0, e2e_p99_s=1.5)
    found = advise(small(promise, batch=32, replicas=2, scheduler="static"), models=())
    assert [str(move) for move in found.best.moves] == ["cloud: scheduler static -> continuous"]


def test_an_impossible_promise_names_the_nearest_miss():
    found = advise(small(Slo(requests_per_s=1.0, e2e_p99_s=1e-5)), models=("smollm2-135m",))
    assert found.best is None
    assert found.nearest is not None
    assert "none keeps the promises" in found.because[0]
    assert found.to_dict()["best"] is None


def test_an_unknown_figure_is_no_matter_of_design():
    plan = small(Slo(requests_per_s=0.1, e2e_p99_s=5.0))
    found = advise(replace(plan, drift=replace(plan.drift, psi_per_day=None)))
    assert found.best is None
    assert any("psi_per_day" in line for line in found.because)


def test_a_promised_quality_keeps_to_what_was_measured():
    found = advise(small(Slo(requests_per_s=50.0, e2e_p99_s=0.2, min_quality=0.5), replicas=1))
    assert found.best is None
    assert any("quality" in line or "none keeps" in line for line in found.because)


@pytest.mark.parametrize(
    ("rate", "changes"),
    [
        (1e5, {"model": "mixtral-8x7b", "device": "a10g", "weights": "int4"}),
        (3.0, {"scheduler": "prefill-first", "prompt_tokens": 2000}),
        (3.0, {"device": "jetson-orin-nx-16gb", "weights": "int4", "pooled": False, "replicas": 50}),
    ],
)
def test_no_plan_is_too_odd_for_advice(rate, changes):
    found = advise(small(Slo(requests_per_s=rate, e2e_p99_s=0.5, availability=0.9999), **changes))
    assert found.best.audit.feasible if found.best is not None else found.because
