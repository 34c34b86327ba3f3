"""Controls stand for a plan and a plan for its controls."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.audit.brief import brief
from reckoner.catalogue import find
from reckoner.errors import InputError, ReckonerError
from reckoner.web.design import controls, plan_of_values

NAMES = {one.name: one for group in controls(brief()).values() for one in group}


def test_untouched_controls_give_the_plan_back_to_the_bit():
    assert plan_of_values(brief(), {name: one.value for name, one in NAMES.items()}) == brief()


@given(st.floats(0.001, 0.999), st.floats(1e-4, 1.0), st.floats(1e-6, 1e-2), st.floats(1.0, 1e4))
@settings(max_examples=50, deadline=None)
def test_any_plan_survives_its_own_controls(cut, seconds, usd, demand):
    from dataclasses import replace

    plan = brief()
    slo = replace(plan.slo, e2e_p99_s=seconds, usd_per_request=usd, requests_per_s=demand)
    tiers = {
        "cloud": replace(plan.tiers["cloud"], share=1.0 - 0.4 * cut - 0.01),
        "edge": replace(plan.tiers["edge"], share=0.4 * cut),
        "tinyml": replace(plan.tiers["tinyml"], share=0.01),
    }
    plan = replace(plan, slo=slo, tiers=tiers)
    assert plan_of_values(plan, {one.name: one.value for group in controls(plan).values() for one in group}) == plan


def test_every_control_of_the_seed_is_there_within_its_bounds():
    gpus, days, gap = NAMES["cloud.replicas"], NAMES["plan.retrain_days"], NAMES["plan.gap_pct"]
    assert (gpus.kind, gpus.least, gpus.most) == ("slider", 1, 8)
    assert (days.kind, days.least, days.most) == ("slider", 1, 90)
    assert (gap.kind, gap.least, gap.most) == ("slider", 0, 20)
    assert {"static", "dynamic", "continuous"} <= set(NAMES["cloud.scheduler"].options)
    assert {"fp16", "int8", "int4"} <= set(NAMES["cloud.weights"].options)
    assert "ternary" in NAMES["mobile.weights"].options


def test_every_model_and_device_of_the_catalogue_can_be_chosen():
    assert set(find.models()) <= set(NAMES["edge.model"].options)
    assert set(find.devices()) <= set(NAMES["edge.device"].options)


def made(values):
    """The plan of some values; the plan as it was where they make none."""
    try:
        return plan_of_values(brief(), values)
    except ReckonerError:
        return brief()


LINKLESS = ("edge.tp", "mobile.tp")


@pytest.mark.parametrize("name", LINKLESS)
def test_a_device_without_a_link_shares_no_layer_until_it_is_another_device(name):
    with pytest.raises(InputError, match="has no link to another device"):
        plan_of_values(brief(), {name: "2"})
    tier = name.partition(".")[0]
    assert plan_of_values(brief(), {name: "2", f"{tier}.device": "h100"}).tiers[tier].tp == 2


@pytest.mark.parametrize("name", sorted({*NAMES} - {*LINKLESS}))
def test_every_control_changes_the_plan(name):
    one = NAMES[name]
    steps = [one.value + one.step, one.value - one.step] if one.kind != "choice" else one.options
    assert any(made({name: value}) != brief() for value in steps)


def test_a_slider_grows_with_what_it_must_hold():
    grown = controls(brief().with_tier("cloud", replicas=27))["cloud"][0]
    assert (grown.value, grown.most) == (27, 27)


def test_what_the_other_tiers_do_not_take_is_the_cloud_s():
    plan = plan_of_values(brief(), {"edge.share_pct": 30.0})
    assert plan.tiers["cloud"].share == pytest.approx(0.55)
    with pytest.raises(InputError, match="more than 100%"):
        plan_of_values(brief(), {"edge.share_pct": 99.0})


def test_zero_promises_nothing():
    assert plan_of_values(brief(), {"slo.usd_per_1k": 0.0}).slo.usd_per_request is None
    assert plan_of_values(brief(), {"slo.ttft_p99_ms": 20.0}).slo.ttft_p99_s == pytest.approx(0.02)
