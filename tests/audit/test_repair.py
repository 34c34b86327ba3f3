"""What a banner offers is carried out and audited again."""

import pytest

from reckoner.audit.brief import brief
from reckoner.audit.repair import repair, repair_tier
from reckoner.audit.run import audit


def offered(plan, name, tier=""):
    found = audit(plan)
    verdict = found.verdict(name, tier)
    assert verdict.holds is False
    return repair(found, verdict), verdict


@pytest.mark.parametrize(
    ("plan", "name", "tier", "says"),
    [
        (brief(), "requests_per_s", "cloud", "cloud: replicas 2 -> "),
        (brief(), "flash_bytes", "tinyml", "tinyml: params"),
        (brief(), "psi", "", "retrain days 30 -> 25"),
        (brief().with_tier("edge", weights="fp16", batch=64), "memory_bytes", "edge", "edge: weights fp16 -> "),
        (brief().with_tier("mobile", weights="fp16"), "memory_bytes", "mobile", "mobile: weights fp16 -> int4"),
        (brief().with_tier("tinyml", activation_bytes=2e6), "sram_bytes", "tinyml", "tinyml: activation bytes"),
        (brief().with_tier("tinyml", params=40e6), "e2e_p99_s", "tinyml", "tinyml: params"),
    ],
)
def test_a_repair_names_its_change_and_keeps_the_promise_when_audited_again(plan, name, tier, says):
    made, verdict = offered(plan, name, tier)
    assert made.says.startswith(says)
    assert made.verdict == verdict
    assert audit(made.plan).verdict(name, tier).holds


def test_a_latency_takes_a_search_of_its_tier_after_which_the_whole_tier_passes():
    assert offered(brief(), "e2e_p99_s", "cloud")[0] is None
    found = audit(brief())
    for tier in ("cloud", "mobile", "tinyml"):
        made = repair_tier(found, tier)
        assert all(v.holds for v in audit(made.plan).verdicts if v.tier == tier), made.says
        assert {move.tier for move in made.moves} == {tier}


def test_a_tier_that_keeps_its_promises_needs_no_repair():
    made = repair_tier(audit(brief()), "tinyml")
    assert repair_tier(audit(made.plan), "tinyml") is None


def test_spares_are_added_once_every_tier_carries_its_load_and_not_before():
    plan = brief()
    assert offered(plan, "availability")[0] is None
    for tier in ("cloud", "edge", "mobile"):
        made = repair_tier(audit(plan), tier)
        plan = plan if made is None else made.plan
    lean = audit(plan).figures["cloud"]["needed"].value
    made, _ = offered(plan.with_tier("cloud", replicas=int(lean)), "availability")
    assert audit(made.plan).verdict("availability").holds


def test_a_bill_too_high_for_idle_devices_is_repaired_by_giving_them_back():
    plan = brief()
    made = repair_tier(audit(plan), "cloud")
    made, _ = offered(made.plan.with_tier("cloud", replicas=2000), "usd_per_request")
    assert audit(made.plan).verdict("usd_per_request").holds
    assert [move.field for move in made.moves] == ["replicas"]


def test_a_gap_is_repaired_only_by_allowing_it():
    from dataclasses import replace

    plan = brief()
    plan = replace(plan, fairness=replace(plan.fairness, max_gap=0.0))
    made, _ = offered(plan, "fairness_gap")
    assert made.plan.fairness.max_gap == pytest.approx(0.03)
    assert audit(made.plan).verdict("fairness_gap").holds
