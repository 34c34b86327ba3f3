import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.physics import energy, speculation

shares = st.floats(0, 1)


@given(shares, st.integers(0, 32))
def test_tokens_a_verification_equal_the_geometric_sum(acceptance, draft):
    direct = math.fsum(acceptance**i for i in range(draft + 1))
    assert speculation.expected_tokens(acceptance, draft) == pytest.approx(direct, rel=1e-6)


def test_tokens_a_verification_match_a_draw():
    rng = np.random.default_rng(5)
    accepted = rng.random((200_000, 4)) < 0.7
    run = np.cumprod(accepted, axis=1).sum(axis=1) + 1
    assert speculation.expected_tokens(0.7, 4) == pytest.approx(run.mean(), rel=0.01)


@given(shares, st.integers(1, 16), st.floats(0, 1))
def test_speculation_never_beats_its_tokens(acceptance, draft, ratio):
    assert speculation.speedup(acceptance, draft, ratio) <= draft + 1 + 1e-9
    assert speculation.speedup(0.0, draft, ratio) == pytest.approx(1 / (draft * ratio + 1))


def test_arrays_of_acceptance_reach_one():
    assert speculation.expected_tokens(np.array([0.0, 1.0]), 2).tolist() == [1.0, 3.0]


@given(st.floats(0, 500), st.floats(0, 1000), shares)
def test_power_lies_between_idle_and_full(idle, extra, utilisation):
    power = energy.power_w(idle, idle + extra, utilisation)
    assert idle - 1e-9 <= power <= (idle + extra) * (1 + 1e-12) + 1e-9


@given(st.floats(1, 1e4), st.floats(0.1, 1e6), st.floats(1, 2))
def test_tokens_times_joules_are_watts_times_seconds(power, rate, pue):
    assert energy.joules_per_token(power, rate, pue) * rate == pytest.approx(power * pue)


def test_a_kilowatt_hour_emits_the_grid_s_intensity():
    assert energy.carbon_g(3.6e6, 380) == 380
