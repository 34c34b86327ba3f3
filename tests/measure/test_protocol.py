import dataclasses
import math
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.errors import InputError
from reckoner.measure.environment import fingerprint
from reckoner.measure.protocol import (
    machine_cautions,
    machine_load,
    median_rank,
    pinned,
    rounds,
    sample_cautions,
    spread,
    summarise,
)

finite = st.floats(-1e6, 1e6)


@given(st.lists(finite, min_size=1, max_size=60))
def test_the_interval_holds_the_sample_median(samples):
    summary = summarise(samples)
    assert summary.n == len(samples)
    if summary.low is None:
        assert summary.n < 6
        assert summary.high is None
        assert summary.coverage is None
    else:
        assert min(samples) <= summary.low <= summary.median <= summary.high <= max(samples)
        assert summary.coverage >= 0.95


@given(st.lists(finite, min_size=1, max_size=40), st.randoms())
def test_the_order_of_samples_does_not_matter(samples, random):
    shuffled = list(samples)
    random.shuffle(shuffled)
    assert summarise(shuffled) == summarise(samples)


@given(st.integers(1, 200), st.floats(0.5, 0.999))
def test_the_stated_coverage_is_the_binomial_one_and_no_narrower_interval_reaches_the_level(n, level):
    def coverage(k):
        return sum(math.comb(n, i) for i in range(k, n - k + 1)) / 2**n

    found = median_rank(n, level)
    if found is None:
        assert coverage(1) < level
    else:
        k, stated = found
        assert stated == pytest.approx(coverage(k), abs=1e-12)
        assert stated >= level
        assert k == n // 2 or coverage(k + 1) < level + 1e-12


@pytest.mark.parametrize(("level", "fewest"), [(0.95, 6), (0.90, 5), (0.99, 8)])
def test_fewer_samples_than_the_level_needs_give_no_interval(level, fewest):
    assert summarise([1.0] * (fewest - 1), level).low is None
    assert summarise([1.0] * fewest, level).low == 1.0


@pytest.mark.parametrize("n", [6, 25, 100])
def test_the_interval_covers_the_true_median_of_a_skewed_law_as_often_as_it_says(n):
    rng = np.random.default_rng(3)
    trials = 4000
    samples = np.sort(rng.lognormal(0.0, 1.0, (trials, n)), axis=1)  # true median: 1
    k, coverage = median_rank(n, 0.95)
    hits = np.mean((samples[:, k - 1] <= 1.0) & (samples[:, n - k] >= 1.0))
    assert hits == pytest.approx(coverage, abs=4 * math.sqrt(coverage * (1 - coverage) / trials))


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
def test_nothing_and_numbers_that_are_not_finite_have_no_summary(bad):
    with pytest.raises(InputError, match="samples"):
        summarise(bad)


def test_a_level_outside_zero_and_one_is_refused():
    with pytest.raises(InputError, match=r"level is 95; .*0\.95"):
        summarise([1.0], 95)


@given(st.lists(st.integers(), min_size=1, max_size=8, unique=True), st.integers(1, 20), st.integers(0, 9))
def test_every_round_holds_every_item_once(items, n, seed):
    made = list(rounds(items, n, seed))
    assert len(made) == n
    assert all(sorted(one) == sorted(items) for one in made)
    assert made == list(rounds(items, n, seed))


@given(st.integers(1, 8))
def test_over_as_many_rounds_as_items_each_item_stands_in_each_place_once(n):
    made = list(rounds(range(n), n, seed=1))
    for place in range(n):
        assert {one[place] for one in made} == set(range(n))


@given(st.integers(1, 50), st.data())
def test_spreading_keeps_the_count_and_the_even_distance(of, data):
    n = data.draw(st.integers(1, of))
    chosen = [index for index in range(of) if spread(n, of, index)]
    assert len(chosen) == n
    gaps = np.diff(chosen)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not pin")
def test_pinning_holds_for_every_thread_and_is_undone():
    before = os.sched_getaffinity(0)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with pinned() as core:
            assert core in before
            for task in Path("/proc/self/task").iterdir():
                assert os.sched_getaffinity(int(task.name)) == {core}
        assert os.sched_getaffinity(0) == before
        assert os.sched_getaffinity(thread.native_id) == before
    finally:
        stop.set()
        thread.join()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not pin")
def test_a_core_that_this_process_may_not_use_is_refused():
    with pytest.raises(InputError, match="core is 4096"), pinned(4096):
        pass


def test_a_machine_in_order_gives_no_caution():
    here = dataclasses.replace(
        fingerprint(), governor="performance", thread_env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    )
    assert machine_cautions(here, load=0.0, pinned_core=0) == ()


def test_each_trouble_of_the_machine_has_its_caution_and_remedy():
    here = dataclasses.replace(
        fingerprint(), governor="powersave", thread_env={"OMP_NUM_THREADS": None, "OPENBLAS_NUM_THREADS": "1"}
    )
    found = machine_cautions(here, load=0.8, pinned_core=None)
    assert [caution.kind for caution in found] == ["governor", "threads", "busy", "pinning"]
    assert "cpupower" in found[0].message
    assert "OMP_NUM_THREADS" in found[1].message


def test_few_and_noisy_samples_are_called_so():
    assert [c.kind for c in sample_cautions("S=8", summarise([1.0, 2.0]))] == ["samples", "noisy"]
    assert sample_cautions("S=8", summarise([1.0] * 6)) == ()


def test_the_load_is_a_share():
    assert 0.0 <= machine_load() <= 1.0
