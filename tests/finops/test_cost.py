import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.errors import InputError
from reckoner.evaluate.stats import wilson
from reckoner.finops.cost import (
    READY_ACCURACY,
    Interval,
    accepted_from_items,
    break_even_usd_per_error,
    cpqu,
    inverse,
    paired_accuracy_ratio,
    ratio,
    usd_per_1k_tokens,
    usd_per_accepted,
    usd_per_request,
    usd_with_errors,
)

positive = st.floats(1e-6, 1e6)
ready = st.floats(READY_ACCURACY, 1.0)


@pytest.mark.parametrize(
    ("usd_per_1k", "accuracy", "printed"),
    [(0.0098, 0.752, "0.0130"), (0.0042, 0.748, "0.0056"), (0.0114, 0.781, "0.0146")],
)
def test_cpqu_agrees_with_the_seeds_illustrative_rows(usd_per_1k, accuracy, printed):
    assert f"{cpqu(usd_per_1k, accuracy):.4f}" == printed


@given(positive, positive)
def test_a_thousand_tokens_cost_the_rate_for_as_long_as_they_take(usd_per_hour, tokens_per_s):
    seconds = 1000 / tokens_per_s
    assert usd_per_1k_tokens(usd_per_hour, tokens_per_s) == pytest.approx(usd_per_hour * seconds / 3600)


@given(positive, positive, positive, st.floats(0.01, 100))
def test_another_rate_leaves_the_ranking_as_it_is(rate, fast, slow, factor):
    before = usd_per_1k_tokens(rate, fast) <= usd_per_1k_tokens(rate, slow)
    assert (usd_per_1k_tokens(rate * factor, fast) <= usd_per_1k_tokens(rate * factor, slow)) == before


@given(positive, st.floats(0, READY_ACCURACY, exclude_max=True))
def test_below_the_guard_nothing_is_divided(usd_per_1k, accuracy):
    assert cpqu(usd_per_1k, accuracy) is None


@given(positive, ready, ready)
def test_a_more_accurate_version_at_the_same_price_never_has_a_higher_cpqu(usd_per_1k, one, two):
    low, high = sorted((one, two))
    assert cpqu(usd_per_1k, high) <= cpqu(usd_per_1k, low)


@pytest.mark.parametrize("bad", [0.0, -0.05, math.nan, math.inf])
def test_a_rate_or_a_speed_that_is_no_figure_is_refused_by_name(bad):
    with pytest.raises(InputError, match=f"usd_per_hour is {bad}"):
        usd_per_1k_tokens(bad, 100)
    with pytest.raises(InputError, match=f"tokens_per_s is {bad}"):
        usd_per_1k_tokens(0.05, bad)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_an_accuracy_outside_0_to_1_is_refused(bad):
    for function in (lambda: cpqu(1.0, bad), lambda: usd_per_accepted(1.0, bad), lambda: usd_with_errors(1.0, bad, 1)):
        with pytest.raises(InputError, match=f"accuracy is {bad}"):
            function()


def test_a_request_pays_its_prompt_at_prefill_speed_and_all_but_its_first_token_at_decode_speed():
    # 3,600 USD/h is 1 USD/s: 100/50 s of prefill and 9/3 s of decode
    cost = usd_per_request(
        3600.0, prompt_tokens=100, output_tokens=10, prefill_tokens_per_s=50.0, decode_tokens_per_s=3.0
    )
    assert cost == pytest.approx(5.0)
    with pytest.raises(InputError, match="output_tokens is 0"):
        usd_per_request(1.0, prompt_tokens=1, output_tokens=0, prefill_tokens_per_s=1.0, decode_tokens_per_s=1.0)


@given(positive, st.floats(0.01, 1.0))
def test_cost_per_accepted_answer_is_the_cost_of_a_geometric_number_of_tries(cost, accuracy):
    tries = np.arange(1, 4000)
    mean_tries = float((tries * accuracy * (1 - accuracy) ** (tries - 1)).sum())
    assert usd_per_accepted(cost, accuracy) == pytest.approx(cost * mean_tries, rel=1e-6)


def test_an_answer_that_is_never_accepted_has_no_price():
    assert usd_per_accepted(0.1, 0.0) is None


@given(positive, st.floats(0, 0.9), positive, st.floats(0.001, 0.1))
def test_at_the_break_even_price_both_versions_cost_the_same(cheap_usd, accuracy, dearer_usd, gain):
    cheap, better = (cheap_usd, accuracy), (cheap_usd + dearer_usd, accuracy + gain)
    price = break_even_usd_per_error(cheap, better)
    assert usd_with_errors(*cheap, price) == pytest.approx(usd_with_errors(*better, price), rel=1e-6)


def test_a_better_and_cheaper_version_pays_off_at_any_price_and_a_worse_one_at_none():
    assert break_even_usd_per_error((2.0, 0.5), (1.0, 0.6)) == 0.0
    assert break_even_usd_per_error((1.0, 0.5), (2.0, 0.5)) is None


@pytest.mark.parametrize("ends", [(2.0, 3.0), (0.1, 0.5), (math.nan, 2.0)])
def test_an_interval_holds_its_value(ends):
    with pytest.raises(InputError, match="does not hold its value"):
        Interval(value=1.0, low=ends[0], high=ends[1])


@given(positive, st.floats(1.0, 2.0), st.floats(1.0, 2.0), positive)
def test_the_cost_interval_mirrors_the_speed_interval(value, down, up, numerator):
    speed = Interval(value=value, low=value / down, high=value * up)
    cost = inverse(speed, numerator)
    assert cost.low <= cost.value <= cost.high
    assert cost.high == pytest.approx(numerator / speed.low)


def test_the_log_scale_interval_agrees_with_a_bootstrap_of_independent_cost_and_accuracy():
    rng = np.random.default_rng(7)
    n, p, cost, sigma = 600, 0.75, 1e-5, 0.04
    correct = round(n * p)
    low, high = wilson(correct, n)
    reach = 1.959964 * sigma
    got = ratio(
        Interval(value=cost, low=cost * math.exp(-reach), high=cost * math.exp(reach)),
        Interval(value=p, low=low, high=high),
    )
    draws = cost * np.exp(rng.normal(0, sigma, 200_000)) / (rng.binomial(n, p, 200_000) / n)
    reference = np.quantile(draws, [0.025, 0.975])
    assert [got.low, got.high] == pytest.approx(reference.tolist(), rel=0.01)


def test_a_perfect_accuracy_still_leaves_the_ratio_uncertain():
    low, high = wilson(100, 100)
    got = ratio(Interval(value=1.0, low=1.0, high=1.0), Interval(value=1.0, low=low, high=high))
    assert (got.low, got.value) == (1.0, 1.0)
    assert got.high == pytest.approx(1 / low)


def test_an_interval_that_reaches_zero_has_no_ratio():
    assert ratio(Interval(value=1.0, low=1.0, high=1.0), Interval(value=0.1, low=0.0, high=0.2)) is None


def test_the_joint_interval_agrees_with_a_paired_bootstrap_where_wrong_answers_cost_more():
    rng = np.random.default_rng(11)
    n = 400
    correct = rng.random(n) < 0.7
    costs = 1e-6 * rng.lognormal(0, 0.3, n) * np.where(correct, 1.0, 2.0)
    got = accepted_from_items(costs.tolist(), correct.tolist())
    picks = rng.integers(0, n, (20_000, n))
    draws = costs[picks].mean(axis=1) / correct[picks].mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert [got.low, got.high] == pytest.approx([low, high], rel=0.02)
    # the covariance matters here: without it the interval would be a good deal narrower
    apart = math.sqrt(costs.var() / costs.mean() ** 2 / n + correct.var() / correct.mean() ** 2 / n)
    assert math.log(got.high / got.low) > 1.15 * 2 * 1.96 * apart


@pytest.mark.parametrize(
    ("costs", "correct", "says"),
    [([1.0], [True], "two or more"), ([1.0, 2.0], [True], "two or more"), ([1.0, -2.0], [True, True], "above 0")],
)
def test_items_that_do_not_pair_up_are_refused(costs, correct, says):
    with pytest.raises(InputError, match=says):
        accepted_from_items(costs, correct)


def test_no_accepted_item_leaves_no_cost_per_accepted_answer():
    assert accepted_from_items([1.0, 2.0], [False, False]) is None


def test_the_paired_accuracy_ratio_agrees_with_a_paired_bootstrap():
    rng = np.random.default_rng(13)
    n = 500
    hard = rng.random(n)
    one, two = hard < 0.8, (hard + rng.normal(0, 0.1, n)) < 0.7
    got = paired_accuracy_ratio(one.tolist(), two.tolist())
    picks = rng.integers(0, n, (20_000, n))
    low, high = np.quantile(one[picks].mean(axis=1) / two[picks].mean(axis=1), [0.025, 0.975])
    assert [got.low, got.high] == pytest.approx([low, high], rel=0.01)


@given(st.lists(st.booleans(), min_size=1).filter(any))
def test_versions_that_agree_on_every_item_have_a_ratio_of_exactly_one(verdicts):
    assert paired_accuracy_ratio(verdicts, verdicts) == Interval(value=1.0, low=1.0, high=1.0)


def test_a_version_that_is_never_right_has_no_accuracy_ratio():
    assert paired_accuracy_ratio([True, True], [False, False]) is None
    with pytest.raises(InputError, match="same items"):
        paired_accuracy_ratio([True], [True, False])
