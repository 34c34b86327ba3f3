"""Statistics of runs: where a run is steady, how sure its mean is, and prompts of exact length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.errors import InputError
from reckoner.measure.prompts import Counting, prompts_of
from reckoner.measure.statistics import Mean, enough, mean_of, steady_from, student


def series(n, phi, seed):
    """A stationary AR(1) series of mean 10."""
    rng = np.random.default_rng(seed)
    found = np.empty(n)
    state = rng.standard_normal() / np.sqrt(1.0 - phi * phi)
    for i in range(n):
        state = phi * state + rng.standard_normal()
        found[i] = 10.0 + state
    return found


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_nine_in_ten_intervals_hold_the_mean_of_alike_neighbours(phi):
    held = 0
    for seed in range(200):
        mean = mean_of(series(1500, phi, seed))
        held += mean.low <= 10.0 <= mean.high
    assert 165 <= held <= 195  # 0.9 of 200 with three standard deviations


def test_neighbours_taken_for_independent_would_be_too_sure():
    values = series(1500, 0.8, 3)
    naive = 1.645 * values.std() / np.sqrt(len(values))
    assert mean_of(values).half_width * mean_of(values).value > 1.8 * naive


def test_a_warm_up_is_cut_and_a_steady_run_is_kept():
    rng = np.random.default_rng(1)
    steady = 1.0 + 0.05 * rng.standard_normal(600)
    assert 90 <= steady_from(np.concatenate([np.linspace(3.0, 1.0, 100), steady])) <= 130
    assert steady_from(steady) <= 200
    assert steady_from(steady[:10]) == 0


@given(st.lists(st.floats(0.001, 100.0), min_size=1, max_size=300))
def test_at_most_half_of_a_run_is_cut_and_the_mean_lies_in_its_interval(values):
    found = np.array(values)
    assert 0 <= steady_from(found) <= len(found) // 2 + 5
    mean = mean_of(found)
    assert mean.low is None or mean.low <= mean.value <= mean.high


def test_more_requests_follow_the_square_root_law():
    mean = Mean(value=1.0, low=0.96, high=1.04, n=100, batches=10)
    assert enough(mean, 0.02).more in (300, 301)  # a rounding of 0.04
    assert enough(mean, 0.05).reached
    assert enough(Mean(value=1.0, low=None, high=None, n=3, batches=1), 0.02).more is None
    with pytest.raises(InputError, match="goal is 0"):
        enough(mean, 0.0)


@pytest.mark.parametrize(("freedom", "t"), [(4, 2.132), (9, 1.833), (29, 1.699), (120, 1.658)])
def test_students_quantiles_are_those_of_the_tables(freedom, t):
    assert student(freedom, 0.9) == pytest.approx(t, rel=0.005)


@given(st.integers(20, 3000), st.floats(0, 15), st.integers(0, 9))
def test_prompts_have_the_length_asked_for(tokens, fixed, seed):
    counting = Counting(fixed=round(fixed), per_word=1.0, by="usage")
    (prompt,) = prompts_of(counting, [tokens], seed=seed)
    assert len(prompt.split()) + counting.fixed == tokens


def test_prompts_differ_but_for_what_they_share():
    counting = Counting(fixed=3.0, per_word=1.0, by="usage")
    one, two = prompts_of(counting, [103, 103], seed=1, shared_tokens=40)
    assert one.split()[:40] == two.split()[:40]
    assert one.split()[40:] != two.split()[40:]
    with pytest.raises(InputError, match="template alone takes 3"):
        prompts_of(counting, [3], seed=1)
    with pytest.raises(InputError, match="shared_tokens is 200"):
        prompts_of(counting, [103], seed=1, shared_tokens=200)
