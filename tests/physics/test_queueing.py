import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.physics import queueing

loads = st.floats(0.01, 0.97)
services = st.floats(1e-3, 10)


@given(loads, services)
def test_p99_over_mean_sojourn_is_ln_100_at_every_load(rho, service):
    rate = rho / service
    ratio = queueing.mm1_sojourn_quantile_s(rate, service, 0.99) / queueing.mm1_sojourn_s(rate, service)
    assert ratio == pytest.approx(math.log(100), rel=1e-9)


@given(loads, services)
def test_mm1_number_present_solves_the_birth_death_balance(rho, service):
    n = np.arange(6000)
    weights = rho**n  # p_n = rho^n p_0
    mean = float(np.sum(n * weights) / np.sum(weights))
    sojourn = queueing.mm1_sojourn_s(rho / service, service)
    assert queueing.little_number(rho / service, sojourn) == pytest.approx(mean, rel=1e-6)


def _erlang_c_by_factorials(servers, offered):
    terms = [offered**n / math.factorial(n) for n in range(servers)]
    waiting = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return waiting / (sum(terms) + waiting)


@given(st.integers(1, 60), loads)
def test_erlang_c_equals_the_sum_of_factorials(servers, rho):
    offered = rho * servers
    assert queueing.erlang_c(servers, offered) == pytest.approx(_erlang_c_by_factorials(servers, offered), rel=1e-9)


@given(st.integers(1, 12), st.floats(0.01, 0.9), services)
def test_mmc_wait_solves_the_birth_death_balance(servers, rho, service):
    n = np.arange(1, 3000)
    ratios = rho * servers / np.minimum(n, servers)
    weights = np.concatenate([[1.0], np.cumprod(ratios)])
    queue = np.sum(np.maximum(np.arange(weights.size) - servers, 0) * weights) / np.sum(weights)
    rate = rho * servers / service
    assert queueing.mmc_wait_s(servers, rate, service) * rate == pytest.approx(float(queue), rel=1e-6, abs=1e-15)


@given(loads, services)
def test_one_server_is_mm1(rho, service):
    rate = rho / service
    wait = queueing.mmc_wait_s(1, rate, service)
    assert wait + service == pytest.approx(queueing.mm1_sojourn_s(rate, service), rel=1e-9)
    assert queueing.mg1_wait_s(rate, service, 1.0) == pytest.approx(wait, rel=1e-9)
    assert queueing.kingman_wait_s(rate, service, 1.0, 1.0) == pytest.approx(wait, rel=1e-9)
    assert queueing.allen_cunneen_wait_s(1, rate, service, 1.0, 1.0) == pytest.approx(wait, rel=1e-9)


@given(loads, services)
def test_fixed_service_halves_the_wait(rho, service):
    rate = rho / service
    assert queueing.md1_wait_s(rate, service) == pytest.approx(queueing.mg1_wait_s(rate, service, 1.0) / 2, rel=1e-12)


def test_pollaczek_khinchine_matches_lindley_s_recursion():
    rng = np.random.default_rng(11)
    gaps, services_drawn = rng.exponential(1 / 0.7, 400_000), rng.uniform(0.5, 1.5, 400_000)
    steps = np.concatenate([[0.0], np.cumsum(services_drawn[:-1] - gaps[1:])])
    waits = steps - np.minimum.accumulate(steps)
    cv2 = (1 / 12) / 1.0
    assert queueing.mg1_wait_s(0.7, 1.0, cv2) == pytest.approx(waits.mean(), rel=0.03)


@given(st.integers(1, 40), st.floats(0.05, 0.95), services, st.floats(0.5, 0.999))
def test_the_wait_quantile_inverts_the_tail(servers, rho, service, q):
    rate = rho * servers / service
    wait = queueing.mmc_wait_quantile_s(servers, rate, service, q)
    tail = queueing.erlang_c(servers, rate * service) * math.exp(-(servers / service - rate) * wait)
    assert wait >= 0
    assert tail == pytest.approx(1 - q, rel=1e-6) if wait else tail <= 1 - q


@given(st.floats(1.0, 50), services)
def test_an_overloaded_queue_waits_for_ever(rho, service):
    rate = rho / service * (1 + 1e-12)
    for wait in (
        queueing.mm1_sojourn_s(rate, service),
        queueing.mmc_wait_s(1, rate, service),
        queueing.mg1_wait_s(rate, service, 0.5),
        queueing.kingman_wait_s(rate, service, 1.0, 0.5),
        queueing.mmc_wait_quantile_s(1, rate, service, 0.99),
    ):
        assert wait == math.inf


def test_arrays_agree_with_scalars_on_both_sides_of_full_load():
    rates = np.array([1.0, 5.0, 9.0, 10.0, 20.0])
    for function in (
        lambda r: queueing.mm1_sojourn_s(r, 0.1),
        lambda r: queueing.mmc_wait_s(1, r, 0.1),
        lambda r: queueing.mmc_wait_quantile_s(1, r, 0.1, 0.9),
        lambda r: queueing.md1_wait_s(r, 0.1),
    ):
        assert function(rates).tolist() == [function(float(r)) for r in rates]


@given(st.floats(0.1, 1e4), st.floats(0.1, 1e3), st.floats(0, 1))
def test_the_replicas_carry_the_demand_and_one_less_would_not(rate, capacity, headroom):
    n = queueing.servers_needed(rate, capacity, headroom)
    assert n * capacity >= rate * (1 + headroom) * (1 - 1e-12)
    assert n == 1 or (n - 1) * capacity < rate * (1 + headroom) * (1 + 1e-12)


@given(st.integers(1, 40), loads)
def test_erlang_b_equals_the_sum_of_factorials(servers, rho):
    offered = rho * servers
    terms = [offered**n / math.factorial(n) for n in range(servers + 1)]
    assert queueing.erlang_b(servers, offered) == pytest.approx(terms[-1] / sum(terms), rel=1e-9)
