import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reckoner.errors import InputError
from reckoner.measure.fits import find_crossover, fit_law, student_t
from reckoner.measure.protocol import Summary, summarise

S = (8, 16, 32, 64, 128, 256, 512, 1024)
positive = st.floats(1e-6, 1e3)


def _point(median, half=None):
    missing = half is None
    return Summary(
        n=3 if missing else 20,
        median=median,
        iqr=0.0,
        low=None if missing else median - half,
        high=None if missing else median + half,
        coverage=None if missing else 0.96,
    )


@given(positive, positive)
def test_a_line_comes_back_with_its_coefficients_and_no_error_beyond(alpha, beta):
    law = fit_law(S, [alpha + beta * s for s in S], ["alpha", "beta"], fit_up_to=256)
    assert [c.value for c in law.coefficients] == pytest.approx([alpha, beta], rel=1e-6, abs=1e-9 * (alpha + beta))
    assert law.fitted_s == (8, 16, 32, 64, 128, 256)
    assert [e.s for e in law.extrapolations] == [512, 1024]
    assert law.max_extrapolation_error < 1e-6
    for c in law.coefficients:
        assert c.low <= c.value <= c.high


@given(st.floats(1e-3, 1e2), st.floats(1e-3, 1e1), st.floats(1e-5, 1e-1))
def test_a_parabola_comes_back_with_its_coefficients(a, b, c):
    values = [a + b * s + c * s * s for s in S]
    law = fit_law(S, values, ["a", "b", "c"], fit_up_to=256)
    assert [one.value * s for one, s in zip(law.coefficients, (1, 256, 256**2), strict=True)] == pytest.approx(
        [a, b * 256, c * 256**2], rel=1e-5, abs=1e-8 * values[5]
    )
    assert law.r2 == pytest.approx(1.0)


@given(st.floats(0.1, 10), st.floats(-0.5, 0.5))
def test_the_error_beyond_the_fit_is_predicted_over_measured_less_one(alpha, off):
    assume(abs(off) > 1e-3)
    values = [alpha + 0.01 * s for s in S]
    values[-1] *= 1 + off
    law = fit_law(S, values, ["alpha", "beta"], fit_up_to=512)
    assert [e.s for e in law.extrapolations] == [1024]
    assert law.extrapolations[0].relative_error == pytest.approx(1 / (1 + off) - 1, rel=1e-6)
    assert law.max_extrapolation_error == pytest.approx(abs(1 / (1 + off) - 1), rel=1e-6)


def test_a_pure_square_misses_the_linear_part_that_dominates_short_contexts():
    # Without a cache: 24 L d^2 S + 4 L S^2 d at d = 64; the seed's gamma S^2 forgets the first term.
    flops = [24 * 64**2 * s + 4 * s * s * 64 for s in S]
    gamma = flops[-1] / S[-1] ** 2
    assert gamma * 8**2 / flops[0] - 1 < -0.97
    assert fit_law(S, flops, ["a", "b", "c"], fit_up_to=256).max_extrapolation_error < 1e-6


def test_the_intervals_hold_the_true_coefficients_as_often_as_they_say():
    rng = np.random.default_rng(11)
    truth = (2.0, 0.01)
    clean = np.array([truth[0] + truth[1] * s for s in S])
    trials, hits = 800, np.zeros(2)
    for _ in range(trials):
        law = fit_law(S, list(clean * (1 + 0.02 * rng.standard_normal(len(S)))), ["alpha", "beta"], fit_up_to=256)
        hits += [c.low <= t <= c.high for c, t in zip(law.coefficients, truth, strict=True)]
    # Weights from the noisy values themselves cost a little; 95% within four standard errors and a per cent.
    assert hits / trials == pytest.approx([0.95, 0.95], abs=4 * math.sqrt(0.95 * 0.05 / trials) + 0.01)


def test_as_many_points_as_coefficients_leave_no_interval():
    law = fit_law((8, 16, 32), [1.0, 2.0, 3.0], ["alpha", "beta"], fit_up_to=16)
    assert all(c.low is None and c.high is None for c in law.coefficients)


def test_a_flat_curve_has_no_r2():
    assert fit_law(S, [1.0] * 8, ["alpha", "beta"], fit_up_to=256).r2 is None


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_measurement_that_is_not_above_zero_is_refused_by_context(bad):
    with pytest.raises(InputError, match="S=16"):
        fit_law(S, [1.0, bad, *[1.0] * 6], ["alpha", "beta"], fit_up_to=256)


def test_too_few_points_for_a_law_are_refused():
    with pytest.raises(InputError, match="2 points lie at S <= 16; a law with 3"):
        fit_law(S, [1.0] * 8, ["a", "b", "c"], fit_up_to=16)


@pytest.mark.parametrize(
    ("dof", "value"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (10, 2.2281), (100, 1.9840)]
)
def test_student_quantiles_are_those_of_the_tables(dof, value):
    assert student_t(0.95, dof) == pytest.approx(value, abs=5e-5)


def test_a_cache_that_is_always_faster_has_no_crossover():
    found = find_crossover(S, [_point(1.0, 0.1)] * 8, [_point(2.0 + s, 0.1) for s in S])
    assert (found.s, found.reason, found.overlapping_s, found.too_few_s) == (None, "cache faster everywhere", (), ())


def test_a_cache_that_never_gains_at_the_longest_context_has_no_crossover():
    found = find_crossover(S, [_point(3.0, 0.1)] * 8, [_point(2.0, 0.1)] * 8)
    assert (found.s, found.reason) == (None, "no gain at the longest S")


@given(st.floats(9, 1000), st.floats(0.1, 10))
def test_the_crossover_of_two_logarithmic_laws_is_where_they_meet(place, slope):
    cached = [_point(100.0)] * 8
    uncached = [_point(100.0 + slope * math.log(s / place)) for s in S]
    found = find_crossover(S, cached, uncached)
    assert found.reason == "crosses"
    assert found.s == pytest.approx(place, rel=1e-6)
    assert found.too_few_s == S


def test_the_last_change_counts_where_there_are_several():
    gains = [1, -1, 1, -1, 1, 1, 1, 1]
    found = find_crossover(S, [_point(10.0, 0.1)] * 8, [_point(10.0 + g, 0.1) for g in gains])
    assert 64 < found.s < 128


def test_overlapping_intervals_are_named():
    found = find_crossover((8, 16), [_point(1.0, 0.5), _point(1.0, 0.5)], [_point(1.4, 0.5), _point(9.0, 0.5)])
    assert found.overlapping_s == (8,)


def test_no_context_has_no_crossover_to_look_for():
    with pytest.raises(InputError, match="no context"):
        find_crossover((), [], [])


def test_summaries_and_crossover_agree_on_what_too_few_means():
    assert find_crossover((8,), [summarise([1.0] * 5)], [summarise([2.0] * 9)]).too_few_s == (8,)
