"""Plans: their invariants, and TOML that says where it is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.audit.brief import brief
from reckoner.audit.plan import Plan, ServedTier
from reckoner.audit.plan_file import parse_plan, plan_to_toml, read_plan, write_plan
from reckoner.errors import InputError

TEXT = plan_to_toml(brief())


def test_a_plan_survives_its_file(tmp_path):
    assert read_plan(write_plan(tmp_path / "plan.toml", brief())) == brief()


@given(st.integers(1, 500), st.sampled_from(["fp16", "int8", "int4"]), st.floats(0.05, 2.0))
def test_every_plan_survives_its_text(replicas, weights, limit):
    plan = brief().with_tier("cloud", replicas=replicas, weights=weights)
    plan = replace(plan, slo=replace(plan.slo, e2e_p99_s=limit))
    assert parse_plan(plan_to_toml(plan)) == plan


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('device = "h100"', 'device = "h1000"', "plan: tiers.cloud: no device named 'h1000'. Did you mean"),
        ('model = "llama-2-7b"', 'model = "llama-2-7bb"', "no model named 'llama-2-7bb'"),
        ("share = 0.6", "share = 0.7", "add up to 1.1; they must add up to 1"),
        ("share = 0.6", 'share = "most"', "plan: tiers.cloud.share is 'most': expected `float`, got `str`"),
        ("share = 0.6", "share = nan", "share is nan; it must be from 0 to 1"),
        ("tp = 1", "tp = 3", "tp is 3"),
        (
            'device = "jetson-orin-nx-16gb"\nweights = "int8"\nkv = "bf16"\ntp = 1',
            'device = "jetson-orin-nx-16gb"\nweights = "int8"\nkv = "bf16"\ntp = 2',
            "plan: tiers.edge: tp is 2, but nvidia-jetson-orin-nx-16gb has no link to another device; take tp = 1",
        ),
        ("tp = 1", "tp = 1.5", "tiers.cloud.tp is 1.5: expected `int`"),
        ("replicas = 2\n", "replicas = 0\n", "replicas is 0; it must be a whole number from 1"),
        ("batch = 64", "batchh = 64", "plan: tiers.cloud.batchh: no field named 'batchh'. Did you mean batch?"),
        ("e2e_p99_s = 0.1", "e2e_p99_ms = 100", "slo.e2e_p99_ms: no field named"),
        ("requests_per_s = 1000.0", "", "slo.requests_per_s is absent"),
        ("e2e_p99_s = 0.1", "e2e_p99_s = -1", "e2e_p99_s is -1"),
        ("requests_per_s = 1000.0", "requests_per_s = 1e308", "it must be at most 1e+12"),
        ("[tiers.tinyml]", "[tiers.tiny]", "tiers.tiny"),
        ("params = 10000000.0", "params = inf", "params is inf"),
        ('device = "stm32h743"', 'device = "h100"', "has no flash for weights"),
        ("retrain_days = 30.0", "retrain_days = 0", "retrain_days is 0"),
        ("max_gap = 0.1", "max_gap = 2", "max_gap is 2"),
        ('scheduler = "continuous"', 'scheduler = "orca"', "no scheduler named 'orca'"),
        ("[slo]", "[slo", "is no TOML"),
        ("headroom = 0.0", "headroom = -1", "headroom is -1"),
        ("availability = 0.999\n", "availability = 1\n", "availability is 1"),
    ],
)
def test_a_wrong_field_is_named_with_its_place_and_remedy(old, new, said):
    assert old in TEXT
    with pytest.raises(InputError) as error:
        parse_plan(TEXT.replace(old, new, 1))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"), [("", "[slo] is absent"), ("slo = 3\ntiers = {}", "slo is 3"), ("x = 1", "x")]
)
def test_a_text_that_is_no_plan_is_refused(text, said):
    with pytest.raises(InputError, match=r"plan") as error:
        parse_plan(text)
    assert said in str(error.value)


def test_a_file_that_is_not_there_leads_to_the_example(tmp_path):
    with pytest.raises(InputError, match="reckoner audit --example"):
        read_plan(tmp_path / "none.toml")


def test_a_changed_tier_names_fields_that_it_does_not_have():
    with pytest.raises(InputError, match="Did you mean replicas"):
        brief().with_tier("cloud", replica=3)


def test_a_language_model_is_no_trigger():
    tier = ServedTier(share=1.0, model="gpt2", device="h100")
    with pytest.raises(InputError, match="only tinyml runs a network"):
        Plan(name="x", slo=brief().slo, tiers={"tinyml": tier})
