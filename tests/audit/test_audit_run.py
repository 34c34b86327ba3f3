"""Verdicts follow from figures, and figures from the physics."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reckoner.audit.brief import brief
from reckoner.audit.invariants import NAMES
from reckoner.audit.plan import Measured, Plan, ServedTier
from reckoner.audit.repair import repair
from reckoner.audit.run import audit
from reckoner.audit.verdict import Verdict
from reckoner.design import Slo
from reckoner.errors import InputError
from reckoner.physics.availability import k_of_n

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def one(slo: Slo | None = None, **changes) -> Plan:
    """A plan of one H100 tier that is easy to keep."""
    tier = {"share": 1.0, "model": "llama-3.1-8b", "device": "h100", "replicas": 2, "batch": 32, "output_tokens": 64}
    return Plan(
        name="one",
        slo=slo or Slo(requests_per_s=5.0, e2e_p99_s=2.0, availability=0.99),
        tiers={"cloud": ServedTier(**(tier | changes))},
        drift=replace(brief().drift, retrain_days=1.0),
    )


def test_the_brief_fails_in_each_tier_for_a_reason_of_its_own(the_brief):
    found = audit(the_brief)
    failed = {(v.tier, v.name) for v in found.failed}
    assert {("cloud", "requests_per_s"), ("edge", "requests_per_s"), ("mobile", "e2e_p99_s")} <= failed
    assert {("tinyml", "flash_bytes"), ("", "availability"), ("", "psi")} <= failed
    assert all(v.fix for v in found.failed)
    assert found.feasible is False


def test_every_invariant_has_figures_of_this_plan(the_brief):
    found = audit(the_brief)
    assert tuple(i.name for i in found.invariants) == NAMES
    assert all(i.figures and i.says for i in found.invariants)


def test_an_easy_plan_is_feasible():
    assert audit(one()).feasible is True


def test_what_is_unknown_is_never_a_pass():
    found = audit(replace(one(), drift=replace(one().drift, psi_per_day=None)))
    assert found.verdict("psi").holds is None
    assert found.feasible is None


def test_an_unmeasured_quality_is_unknown_and_a_measured_one_is_weighed():
    asked = one(replace(one().slo, min_quality=0.7))
    assert audit(asked).verdict("min_quality").holds is None
    graded = Measured(model="llama-3.1-8b", weights="bf16", value=0.8, n=500, source="a test")
    found = audit(replace(asked, quality=(graded,)))
    verdict = found.verdict("min_quality")
    assert (verdict.holds, verdict.value) == (True, 0.8)
    assert verdict.low < 0.8 < verdict.high
    after = found.verdict("quality_after_drift")
    assert after.value == pytest.approx(0.8 - 0.1 * 0.01)


def test_an_unknown_rent_is_unknown_and_no_free_lunch():
    slo = replace(one().slo, usd_per_request=1.0)
    found = audit(one(slo, device="jetson-orin-nx-16gb", model="qwen2.5-0.5b", batch=1))
    assert found.verdict("usd_per_request").holds is None


def test_a_model_that_does_not_fit_fails_memory_and_leaves_its_latency_unknown():
    found = audit(one(model="llama-3.1-70b"))
    assert found.verdict("memory_bytes", "cloud").holds is False
    assert found.verdict("e2e_p99_s", "cloud").holds is None


@few
@given(st.integers(1, 6), st.integers(1, 6))
def test_more_replicas_never_hurt_latency_capacity_or_availability(fewer, more):
    small, large = (audit(one(replicas=n)) for n in (fewer, fewer + more))
    for name in ("capacity_per_s", "availability"):
        assert large.figures["cloud"][name].value >= small.figures["cloud"][name].value - 1e-12
    # more room never makes the tail longer by more than the queue's own noise
    assert large.figures["cloud"]["e2e_p99_s"].value <= small.figures["cloud"]["e2e_p99_s"].value * 1.02


@few
@given(st.floats(0.1, 40.0), st.floats(1.1, 3.0))
def test_more_demand_never_gets_cheaper_than_full(rate, factor):
    slo = replace(one().slo, usd_per_request=1.0)
    low = audit(one(replace(slo, requests_per_s=rate))).figures[""]
    high = audit(one(replace(slo, requests_per_s=rate * factor))).figures[""]
    assert high["usd_per_request"].value <= low["usd_per_request"].value * (1 + 1e-12)


def test_rent_is_divided_by_what_is_served_and_not_by_what_is_asked():
    slo = replace(one().slo, requests_per_s=1e5, usd_per_request=1.0)
    found = audit(one(slo))
    served = found.figures["cloud"]["capacity_per_s"].value
    usd = found.figures["cloud"]["usd_per_hour"].value / 3600.0 / served
    assert found.figures[""]["usd_per_request"].value == pytest.approx(usd)
    assert found.verdict("e2e_p99_s", "cloud").value == float("inf")


def test_availability_is_that_of_enough_replicas_out_of_all():
    assert k_of_n(2, 3, 0.9) == pytest.approx(0.9**3 + 3 * 0.9**2 * 0.1)
    assert k_of_n(4, 3, 0.9) == 0.0
    assert k_of_n(0, 3, 0.9) == 1.0
    found = audit(one(replicas=3, availability=0.9))
    needed = int(found.figures["cloud"]["needed"].value)
    assert found.figures[""]["availability"].value == pytest.approx(k_of_n(needed, 3, 0.9))


def test_the_same_plan_gives_the_same_bytes(the_brief):
    first, second = (json.dumps(audit(the_brief).to_dict(), sort_keys=True) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("scheduler", ["continuous", "prefill-first", "dynamic", "static"])
def test_every_scheduler_is_simulated(scheduler):
    found = audit(one(scheduler=scheduler, batch=4))
    assert found.figures["cloud"]["e2e_p99_s"].value > 0.0


def test_speculation_shortens_answers_that_wait_for_memory():
    plain, fast = (
        audit(one(draft_tokens=n, acceptance=0.9, batch=1)).figures["cloud"]["e2e_p99_s"].value for n in (0, 4)
    )
    assert fast < plain


def test_a_verdict_cannot_contradict_its_figures():
    with pytest.raises(InputError, match="unknown where its value is"):
        Verdict(name="psi", tier="", holds=None, limit=1.0, value=0.5, unit="")
    with pytest.raises(InputError, match="not a number"):
        Verdict(name="psi", tier="", holds=True, limit=float("nan"), value=0.5, unit="")


@given(st.floats(0.01, 10.0), st.floats(0.01, 10.0), st.booleans())
def test_margin_has_the_sign_of_the_verdict(limit, value, floor):
    holds = value >= limit if floor else value <= limit
    verdict = Verdict(name="x", tier="", holds=holds, limit=limit, value=value, unit="", at_least=floor)
    assert (verdict.margin >= 0.0) == holds


def test_a_verdict_is_sure_when_its_whole_interval_is():
    def verdict(low, high):
        return Verdict(name="x", tier="", holds=True, limit=1.0, value=0.5, low=low, high=high, unit="")

    assert verdict(0.4, 0.9).sure is True
    assert verdict(0.4, 1.1).sure is False
    assert verdict(None, None).sure is None


def test_weights_that_leave_no_room_for_a_request_make_its_latency_unknown_and_say_why():
    tight = one(model="llama-2-7b", device="jetson-orin-nx-16gb", weights="fp16", batch=1, output_tokens=200)
    found = audit(tight)
    assert found.verdict("memory_bytes", "cloud").holds is True
    for name in ("e2e_p99_s", "requests_per_s"):
        assert found.verdict(name, "cloud").holds is None
        assert "no room for the cache of a request" in found.verdict(name, "cloud").fix


@pytest.mark.parametrize(
    ("per_day", "said"), [(5e-324, ""), (0.001, ""), (0.5, "retrain every"), (2.0, "no whole day")]
)
def test_a_cadence_is_advised_only_where_one_is_needed_and_can_be_kept(per_day, said):
    drift = replace(one().drift, psi_per_day=per_day, retrain_days=3.0, max_psi=1.0)
    verdict = audit(replace(one(), drift=drift)).verdict("psi")
    assert verdict.holds is (said == "")
    assert said in verdict.fix


def test_a_verdict_that_fails_can_always_be_offered_a_repair(the_brief):
    linkless = the_brief.with_tier("edge", model="llama-2-13b", weights="fp16")
    found = audit(linkless)
    made = repair(found, found.verdict("memory_bytes", "edge"))
    assert made.plan.tiers["edge"].tp == 1
