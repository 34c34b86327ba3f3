import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.calibrate.conformal import BEYOND, Window
from reckoner.calibrate.drift import ALARM, MOST, SLACK, Watch
from reckoner.calibrate.priors import PRIORS, guess_provider
from reckoner.calibrate.solve import nnls3, nnls4, solve3, solve4

numbers = st.floats(-10, 10).map(lambda v: round(v, 3))


def positive_definite(size: int) -> st.SearchStrategy[np.ndarray]:
    rows = st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=size, max_size=size)
    return rows.map(lambda m: np.array(m) @ np.array(m).T + np.eye(size))


def upper(matrix: np.ndarray) -> list[float]:
    return [float(v) for v in matrix[np.triu_indices(len(matrix))]]


def objective(matrix: np.ndarray, right: np.ndarray, x: np.ndarray) -> float:
    return float(0.5 * x @ matrix @ x - right @ x)


def by_faces(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Non-negative least squares by trying every set of free unknowns: the oracle."""
    size, best = len(right), np.zeros(len(right))
    for mask in range(1, 1 << size):
        free = [i for i in range(size) if mask >> i & 1]
        x = np.zeros(size)
        x[free] = np.linalg.solve(matrix[np.ix_(free, free)], right[free])
        if x.min() >= 0 and objective(matrix, right, x) < objective(matrix, right, best):
            best = x
    return best


@given(positive_definite(4), st.lists(numbers, min_size=4, max_size=4))
def test_four_unknowns_are_solved_as_by_linear_algebra(matrix, right):
    x = solve4(upper(matrix), list(right))
    assert x is not None
    np.testing.assert_allclose(matrix @ np.array(x), right, atol=1e-6 * (1 + np.abs(x).max() * np.abs(matrix).max()))


@given(positive_definite(3), st.lists(numbers, min_size=3, max_size=3))
def test_three_unknowns_are_solved_as_by_linear_algebra(matrix, right):
    x = np.array(solve3(*upper(matrix), *right))
    np.testing.assert_allclose(matrix @ x, right, atol=1e-6 * (1 + np.abs(x).max() * np.abs(matrix).max()))


@given(positive_definite(3), st.lists(numbers, min_size=3, max_size=3))
def test_three_unknowns_without_negatives_are_the_best_of_all_faces(matrix, right):
    x = np.array(nnls3(*upper(matrix), *right))
    best = by_faces(matrix, np.array(right))
    assert x.min() >= 0
    assert objective(matrix, np.array(right), x) <= objective(matrix, np.array(right), best) + 1e-6


@given(positive_definite(4), st.lists(numbers, min_size=4, max_size=4))
def test_four_unknowns_without_negatives_are_the_free_answer_where_that_has_none(matrix, right):
    x = np.array(nnls4(upper(matrix), list(right)))
    free = np.linalg.solve(matrix, right)
    assert x.min() >= 0
    if free.min() > 1e-9:
        np.testing.assert_allclose(x, free, rtol=1e-5, atol=1e-7)
    assert objective(matrix, np.array(right), x) <= 1e-9


def test_a_matrix_that_rounding_made_singular_has_no_answer():
    assert solve4([1.0, 1.0, 0, 0, 1.0, 0, 0, 1.0, 0, 1.0], [1.0] * 4) is None
    assert min(nnls4([1.0, 1.0, 0, 0, 1.0, 0, 0, 1.0, 0, 1.0], [1.0] * 4)) >= 0


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=400))
def test_a_window_keeps_its_residuals_sorted_and_its_ends_in_order(residuals):
    window = Window()
    for residual in residuals:
        window.add(residual, *window.ends)
    assert window._sorted == sorted(window._queue)
    assert len(window._queue) <= 212
    assert window.ends[0] <= window.ends[1]
    wide, narrow = window.interval(0.02), window.interval(0.5)
    assert wide[0] <= narrow[0] <= narrow[1] <= wide[1]
    assert Window.from_list(window.to_list()).to_list() == window.to_list()


def test_the_centre_settles_where_the_relative_error_is_least():
    rng, window = random.Random(0), Window()
    for _ in range(6000):
        window.add(rng.gauss(0.0, 0.5), *window.ends)
    # of a log-normal law with standard deviation s the least mean |f - y| / y is at exp(-s^2)
    assert window.centre == pytest.approx(-0.25, abs=0.08)


def test_tails_that_were_never_wide_enough_open_beyond_the_largest_residual():
    window = Window([0.0] * 12)
    for _ in range(60):
        window.add(0.0, -1.0, 1.0)
    assert window.above > 0.05
    narrow = window.ends
    for _ in range(40):
        window.add(3.0, *narrow)
    assert window.above == pytest.approx(0.0005)
    assert window.ends[1] == pytest.approx(3.0 + BEYOND)


def test_merged_windows_have_the_quantiles_of_both():
    rng, first, second = random.Random(1), Window(), Window()
    for _ in range(200):
        first.add(rng.gauss(0, 0.1), *first.ends)
        second.add(rng.gauss(1.0, 0.1), *second.ends)
    first.absorb(second)
    assert first.count == 400
    assert first.quantile(0.25) == pytest.approx(0.0, abs=0.06)
    assert first.quantile(0.75) == pytest.approx(1.0, abs=0.06)
    fresh = Window()
    first.absorb(fresh)
    assert first.count == 400


def test_noise_alone_is_no_drift_in_ten_thousand_requests():
    rng, watch = random.Random(2), Watch()
    assert [event for event in (watch.add(rng.gauss(0, 0.2)) for _ in range(10_000)) if event] == []


def test_a_fall_is_told_by_a_ratio_below_one():
    rng, watch = random.Random(3), Watch()
    for _ in range(300):
        watch.add(rng.gauss(0, 0.05))
    events = [event for event in (watch.add(-0.7 + rng.gauss(0, 0.05)) for _ in range(8)) if event]
    assert len(events) == 1
    assert events[0][0] == pytest.approx(0.5, rel=0.1)
    assert events[0][1] <= math.ceil(ALARM / (MOST - SLACK)) + 3


def test_a_watch_survives_a_trip_through_plain_values():
    rng, watch = random.Random(4), Watch()
    for _ in range(100):
        watch.add(rng.gauss(0.1, 0.3))
    assert Watch.from_list(watch.to_list()).to_list() == watch.to_list()


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("llama3-8b-8192", "cloud"), ("Mixtral-8x7b-32768", "cloud"), ("gemma-7b-it", "cloud"),
        ("whisper-large", "cloud"),
        ("llama3:8b", "local"), ("timmy:v0.1-q4", "local"), ("mistral-7b", "local"), ("qwen2.5", "local"),
    ],
)  # fmt: skip
def test_the_name_decides_the_provider_as_in_version_1(name, provider):
    assert guess_provider(name) == provider


def test_the_priors_are_version_1s():
    assert PRIORS["local"][:3] == (300.0, 0.5, 8.0)
    assert PRIORS["cloud"][:3] == (150.0, 0.05, 0.3)
