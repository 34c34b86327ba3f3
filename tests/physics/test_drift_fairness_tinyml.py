import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reckoner.physics import drift, fairness, tinyml

histograms = st.lists(st.integers(0, 1000), min_size=2, max_size=15)


@given(st.data())
def test_psi_is_symmetric_and_never_negative(data):
    n = data.draw(st.integers(2, 15))
    row = st.lists(st.integers(0, 1000), min_size=n, max_size=n).filter(any)
    p, q = data.draw(row), data.draw(row)
    assert drift.psi(p, q) >= 0
    assert drift.psi(p, q) == pytest.approx(drift.psi(q, p), rel=1e-9, abs=1e-15)
    assert drift.psi(p, p) == 0


@given(st.floats(0, 0.9), st.floats(0.01, 0.1))
def test_psi_grows_with_the_injected_shift(shift, more):
    base, target = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.2, 0.7])
    one = drift.psi(base, (1 - shift) * base + shift * target)
    two = drift.psi(base, (1 - shift - more) * base + (shift + more) * target)
    assert two > one


def test_an_empty_bin_is_a_large_number_and_not_infinity():
    assert 1 < drift.psi([10, 0], [0, 10]) < math.inf


@pytest.mark.parametrize("bad", [[], [0, 0], [-1, 2], [[1, 2]]])
def test_a_histogram_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="expected must be"):
        drift.psi(bad, [1, 2])


def test_histograms_over_different_bins_are_refused():
    with pytest.raises(ValueError, match="2 bins and actual 3"):
        drift.psi([1, 2], [1, 2, 3])


def test_drift_costs_accuracy_in_proportion_to_psi_and_never_below_zero():
    assert drift.accuracy_after(0.9, 0.4, 0.01, 0) == 0.9
    assert drift.accuracy_after(0.9, 0.4, 0.01, 20) == pytest.approx(0.9 - 0.4 * 0.2)
    assert drift.accuracy_after(0.1, 1.0, 1.0, 100) == 0


counts = st.integers(1, 10_000)


@given(counts, st.integers(0, 10_000), counts, counts)
def test_chouldechova_s_identity_holds_for_every_confusion_matrix(tp, fn, fp, tn):
    total = tp + fn + fp + tn
    fpr = fairness.false_positive_rate((tp + fn) / total, tp / (tp + fp), fn / (tp + fn))
    assert fpr == pytest.approx(fp / (fp + tn), rel=1e-6)


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0.1, 0.99), st.floats(0, 0.9))
def test_unequal_base_rates_force_unequal_false_positives(a, b, ppv, fnr):
    assume(abs(a - b) > 1e-3)
    assert fairness.false_positive_gap(a, b, ppv, fnr) != 0
    assert fairness.false_positive_gap(a, b, 1.0, fnr) == 0
    assert fairness.false_positive_gap(a, a, ppv, fnr) == 0


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.integers(1, 100)), min_size=1, max_size=8))
def test_a_calibrated_score_s_class_means_determine_its_base_rate(bins):
    # each bin holds weight w at score s, of which a share s is positive
    weight = sum(w for _, w in bins)
    base = sum(s * w for s, w in bins) / weight
    positive = sum(s * s * w for s, w in bins) / (base * weight)
    negative = sum(s * (1 - s) * w for s, w in bins) / ((1 - base) * weight)
    assert fairness.balanced_base_rate(positive, negative) == pytest.approx(base, rel=1e-6)


def test_ten_million_ternary_weights_fit_flash_but_not_sram():
    weights = tinyml.weight_bytes(10e6, tinyml.TERNARY_BITS)
    assert tinyml.flash_headroom_bytes(weights, 2 * 1024**2) > 0  # STM32H743: 2 MiB of flash
    assert tinyml.sram_headroom_bytes(weights, 1024**2) < 0  # and 1 MiB of SRAM
    assert math.log2(3) < tinyml.TERNARY_BITS < 1.01 * math.log2(3)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=20))
def test_peak_activations_lie_between_the_largest_tensor_and_the_two_largest(sizes):
    peak = tinyml.peak_activation_bytes(sizes)
    assert max(sizes) <= peak <= sum(sorted(sizes)[-2:])


@given(st.floats(0, 5), st.floats(0, 5))
def test_more_drift_never_gets_a_milder_word(a, b):
    words = ["stable", "moderate", "major"]
    low, high = sorted((a, b))
    assert words.index(drift.verdict(low)) <= words.index(drift.verdict(high))
