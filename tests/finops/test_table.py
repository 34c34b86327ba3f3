import json
from dataclasses import replace

import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.evaluate.compare import paired_difference
from reckoner.finops.compare import accuracy_difference, cpqu_ratio, losses
from reckoner.finops.cost import cpqu, usd_per_1k_tokens
from reckoner.finops.inputs import parse_inputs
from reckoner.finops.table import advise, derive


def table(name):
    return derive(parse_inputs(worlds.WORLDS[name]()))


def test_rows_follow_the_formulas_to_six_digits():
    for row in table("usual").rows:
        cost = usd_per_1k_tokens(0.05, row.model.throughput.tokens_per_s.median)
        assert row.usd_per_1k_tokens == pytest.approx(cost, rel=5e-6)
        assert row.cpqu == pytest.approx(cpqu(cost, row.model.report.accuracy.accuracy), rel=5e-6)
        assert row.cpqu_interval.low < row.cpqu < row.cpqu_interval.high


@pytest.mark.parametrize("name", worlds.WORLDS)
def test_the_derived_json_is_finite_keyed_by_digest_and_the_same_every_time(name):
    first = json.dumps(table(name).cpqu_json(), allow_nan=False)
    assert first == json.dumps(table(name).cpqu_json())
    assert set(json.loads(first)) == set(worlds.WORLDS[name]()["models"])


def test_the_guard_says_not_deployment_ready_and_leaves_no_interval():
    rows = table("guarded").cpqu_json()
    assert rows[worlds.INT8]["cpqu"] == "not-deployment-ready"
    assert rows[worlds.INT8]["cpqu_interval"] is None
    assert isinstance(rows[worlds.FP32]["cpqu"], float)


def test_the_manifest_says_which_versions_rate_set_method_and_inputs():
    manifest = table("usual").manifest_json()
    assert manifest["digests"] == sorted([worlds.FP32, worlds.INT8, worlds.LORA])
    assert manifest["rate"]["usd_per_hour"] == 0.05
    assert manifest["eval_set_hash"] == worlds.SET_HASH
    assert manifest["throughput_method"] == worlds.usual()["throughput_method"]
    assert len(manifest["cost_inputs_sha256"]) == 64


@given(st.floats(0.01, 100.0))
@settings(max_examples=10, deadline=None)
def test_another_rate_moves_every_price_alike_and_no_rank(factor):
    content = worlds.usual()
    content["rate"]["usd_per_hour"] *= factor
    scaled, plain = derive(parse_inputs(content)), table("usual")
    assert [row.model.semver for row in scaled.ready] == [row.model.semver for row in plain.ready]
    for one, two in zip(scaled.rows, plain.rows, strict=True):
        assert one.cpqu == pytest.approx(two.cpqu * factor, rel=1e-5)


def test_another_throughput_can_change_the_rank():
    content = worlds.usual()
    content["models"][worlds.INT8]["throughput"] = worlds.throughput(900.0)
    assert derive(parse_inputs(content)).ready[0].model.semver == "v0.1.0"


def test_the_analytic_difference_agrees_with_the_paired_bootstrap():
    base, _, lora = parse_inputs(worlds.usual()).models
    got = accuracy_difference(lora, base)
    value, low, high = paired_difference(lora.report, base.report, seed=5)
    assert got.value == pytest.approx(value)
    assert [got.low, got.high] == pytest.approx([low, high], abs=0.02)


def test_equal_versions_are_not_distinguishable_and_need_no_sample_size():
    first, second = parse_inputs(worlds.even()).models
    difference = accuracy_difference(first, second)
    assert (difference.value, difference.p_value, difference.items_per_arm) == (0.0, 1.0, None)
    assert not difference.distinguishable
    assert difference.low < 0 < difference.high


def test_the_cpqu_ratio_is_its_own_reciprocal_when_the_two_change_places():
    one, two, _ = parse_inputs(worlds.usual()).models
    there, back = cpqu_ratio(one, two), cpqu_ratio(two, one)
    assert there.value * back.value == pytest.approx(1)
    assert there.low * back.high == pytest.approx(1)
    assert cpqu_ratio(*parse_inputs(worlds.quick()).models) is None  # no interval on the speed, none on the ratio


def test_every_bucket_in_which_the_winner_loses_is_found_and_no_other():
    base, int8, lora = parse_inputs(worlds.usual()).models
    found, looked = losses(lora, [base, int8])
    assert looked == 2 + 5 + 3 + 2 + 8
    assert [(loss.dimension, loss.bucket) for loss in found] == [("tense", "past_participle")]
    slices = {model.semver: model.report.slices["tense"]["past_participle"] for model in (base, lora)}
    assert found[0].difference.n == slices["v0.3.0"].n
    assert found[0].other_accuracy == slices["v0.1.0"].accuracy
    assert found[0].winner_accuracy == slices["v0.3.0"].accuracy


def test_a_version_that_is_right_everywhere_loses_nowhere():
    content = worlds.usual()
    content["models"][worlds.LORA]["eval_report"] = worlds.report(worlds.LORA, lambda *_: True)
    base, int8, lora = parse_inputs(content).models
    assert losses(lora, [base, int8]) == ((), 20)


@pytest.mark.parametrize(
    ("name", "default", "premium", "contender"),
    [
        ("usual", "v0.2.0", "v0.3.0", None),
        ("even", "v0.2.0", None, None),
        ("contender", "v0.2.0", None, "v0.3.0"),
        ("guarded", "v0.1.0", None, None),
        ("hopeless", None, None, None),
        ("single", "v0.1.0", None, None),
    ],
)
def test_the_advice_names_a_premium_version_only_where_its_lead_is_real(name, default, premium, contender):
    advice = advise(table(name))
    named = [None if row is None else row.model.semver for row in (advice.default, advice.premium, advice.contender)]
    assert named == [default, premium, contender]


def test_equal_cpqu_is_ordered_by_accuracy_then_digest():
    whole = table("even")
    rows = tuple(replace(row, cpqu=1.0) for row in whole.rows)
    assert [row.model.semver for row in replace(whole, rows=rows).ready] == ["v0.1.0", "v0.2.0"]


def test_a_version_without_request_sizes_has_no_cost_per_answer():
    content = worlds.single()
    del content["models"][worlds.FP32]["throughput"]["repeats"]
    row = derive(parse_inputs(content)).rows[0]
    assert (row.usd_per_request, row.usd_per_accepted, row.usd_with_errors) == (None, None, None)
    assert row.cpqu is not None
