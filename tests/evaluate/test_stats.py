from itertools import combinations, product
from math import isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.errors import InputError
from reckoner.evaluate import (
    brier,
    chance_corrected,
    expected_calibration_error,
    items_per_arm,
    mcnemar,
    paired_bootstrap,
    pass_at_k,
    wilson,
)

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_matches_newcombe_1998_table_1(correct, n, low, high):
    assert wilson(correct, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_of_0752_on_200_items_is_the_seeds_correction():
    assert wilson(0.752 * 200, 200) == (pytest.approx(0.688, abs=5e-4), pytest.approx(0.807, abs=5e-4))


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.01, 0.999))
def test_wilson_holds_the_share_and_mirrors(counted, level):
    correct, n = counted
    low, high = wilson(correct, n, level)
    assert 0 <= low <= correct / n <= high <= 1
    mirrored = wilson(n - correct, n, level)
    assert isclose(mirrored[0], 1 - high, abs_tol=1e-12)
    assert isclose(mirrored[1], 1 - low, abs_tol=1e-12)


@given(st.integers(1, 400))
def test_more_items_narrow_the_interval(n):
    widths = [np.subtract(*wilson(n * k, 2 * n * k)) for k in (1, 2)]
    assert widths[0] < widths[1] < 0


@pytest.mark.parametrize("arguments", [(1, 0), (-1, 5), (6, 5), (1, 5, 0.0), (1, 5, 1.0), (float("nan"), 5)])
def test_wilson_refuses_what_is_no_proportion(arguments):
    with pytest.raises(InputError):
        wilson(*arguments)


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(n):
    for correct in range(n + 1):
        for k in range(1, n + 1):
            draws = list(combinations([True] * correct + [False] * (n - correct), k))
            assert pass_at_k(n, correct, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-15)


@pytest.mark.parametrize("arguments", [(4, 5, 1), (4, -1, 1), (4, 1, 0), (4, 1, 5)])
def test_pass_at_k_refuses_impossible_counts(arguments):
    with pytest.raises(InputError):
        pass_at_k(*arguments)


def test_ece_by_hand():
    # bins (0.5, 0.6]: 2 items, mean confidence 0.6, accuracy 0.5; (0.9, 1.0]: 2 items, 0.95, accuracy 0.5
    got = expected_calibration_error([0.6, 0.6, 0.95, 0.95], [True, False, True, False])
    assert got == pytest.approx(0.5 * 0.1 + 0.5 * 0.45)


def test_ece_puts_the_edges_into_the_lower_bin():
    # 0.5 and 0.45 share (0.4, 0.5]: |0.475 - 0.5| = 0.025; split apart they would give 0.025 + 0.25
    assert expected_calibration_error([0.5, 0.45], [True, False]) == pytest.approx(0.025)
    assert expected_calibration_error([0.0, 1.0], [False, True]) == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_ece_lies_between_the_overall_gap_and_one(items):
    confidences, correct = zip(*items, strict=True)
    ece = expected_calibration_error(confidences, correct)
    assert abs(np.mean(confidences) - np.mean(correct)) - 1e-12 <= ece <= 1 + 1e-12


def test_brier_by_hand():
    assert brier([0.7, 0.2, 0.1], 0) == pytest.approx(0.09 + 0.04 + 0.01)
    assert brier([1.0, 0.0], 0) == 0
    assert brier([1.0, 0.0], 1) == 2
    with pytest.raises(InputError):
        brier([0.5, 0.5], 2)


def test_chance_correction_sends_a_guess_to_zero():
    assert chance_corrected(0.5, 2) == 0
    assert chance_corrected(0.752, 4) == pytest.approx((0.752 - 0.25) / 0.75)
    with pytest.raises(InputError):
        chance_corrected(0.5, 1)


def test_items_per_arm_matches_fleiss_and_the_seeds_correction():
    assert round(items_per_arm(0.752, 0.748), -3) == 184_000
    # by hand: (1.959964 sqrt(2 x 0.525 x 0.475) + 0.841621 sqrt(0.24 + 0.2475))^2 / 0.15^2 = 172.6
    assert items_per_arm(0.6, 0.45) == 173
    assert items_per_arm(0.6, 0.5) == items_per_arm(0.5, 0.6) == 388
    with pytest.raises(InputError, match=r"both 0\.5"):
        items_per_arm(0.5, 0.5)


@given(pairs)
def test_mcnemar_is_the_exact_binomial_test(items):
    a, b = zip(*items, strict=True)
    only_a = sum(x and not y for x, y in items)
    coins = sum(x != y for x, y in items)
    if coins <= 10:
        # enumerate every way the coins could fall; as extreme means as far from half
        falls = [sum(fall) for fall in product((0, 1), repeat=coins)]
        extreme = sum(abs(2 * heads - coins) >= abs(2 * only_a - coins) for heads in falls)
        assert mcnemar(a, b) == pytest.approx(extreme / len(falls), abs=1e-15)
    assert mcnemar(a, b) == mcnemar(b, a)
    assert 0 < mcnemar(a, b) <= 1


def test_mcnemar_of_thousands_of_discordant_items_does_not_overflow():
    assert mcnemar([True] * 3000 + [False] * 2000, [False] * 3000 + [True] * 2000) < 1e-40


@given(pairs)
def test_the_paired_interval_holds_the_difference_and_mirrors(items):
    a, b = zip(*items, strict=True)
    difference, low, high = paired_bootstrap(a, b, seed=1)
    assert difference == pytest.approx(np.mean(a) - np.mean(b))
    assert -1 <= low <= high <= 1
    assert paired_bootstrap(b, a, seed=1)[0] == -difference
    assert paired_bootstrap(a, a, seed=1) == (0, 0, 0)


def test_the_multinomial_draw_is_the_bootstrap_of_items():
    rng = np.random.default_rng(0)
    a, b = rng.random(150) < 0.8, rng.random(150) < 0.7
    difference, low, high = paired_bootstrap(a.tolist(), b.tolist(), seed=3, resamples=20_000)
    picks = rng.integers(0, 150, size=(20_000, 150))
    resampled = (a[picks].astype(int) - b[picks]).mean(axis=1)
    assert difference == pytest.approx(a.mean() - b.mean())
    assert (low, high) == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.01)


def test_the_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    held = 0
    for trial in range(300):
        kind = rng.choice(3, size=200, p=[0.15, 0.05, 0.8])  # a alone, b alone, neither: the truth is 0.10
        _, low, high = paired_bootstrap((kind == 0).tolist(), (kind == 1).tolist(), seed=trial, resamples=2000)
        held += low <= 0.10 <= high
    assert 0.91 <= held / 300 <= 0.98


def test_unpaired_answers_are_refused():
    with pytest.raises(InputError, match="2 answers against 1"):
        mcnemar([True, False], [True])
    with pytest.raises(InputError, match="at least one"):
        paired_bootstrap([], [], seed=0)
