import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from import_runs import SAMPLES, bench, written
from reckoner.measure.compare import LEVEL, compare
from reckoner.measure.events import CONTENT, ROLE, RequestRecord
from reckoner.measure.importers.imported import Imported, Load, Request, Statistic
from reckoner.measure.importers.read import read_results
from reckoner.measure.keep import write_records


def run(ttfts, prompts=None, ids=None, **more):
    requests = tuple(
        Request(
            id=None if ids is None else ids[i],
            prompt_tokens=None if prompts is None else prompts[i],
            output_tokens=11,
            ttft_s=float(ttft),
            e2e_s=float(ttft) + 0.1,
        )
        for i, ttft in enumerate(ttfts)
    )
    return Imported(tool="x", requests=requests, completed=len(requests), failed=0, **more)


def of(found, metric):
    (one,) = [one for one in found.differences if one.metric == metric]
    return one


def noise(n, seed, spread=0.01):
    return np.random.default_rng(seed).normal(0.1, spread, n)


def test_a_run_against_itself_differs_in_nothing():
    (one,) = read_results(SAMPLES / "vllm_bench_serve_0.32_detailed.json")
    for difference in compare(one, one).differences:
        assert difference.change == 0
        assert difference.seen in (False, None)


def test_pairs_see_what_two_sets_cannot():
    base = np.linspace(0.05, 0.5, 200)  # prompts differ far more than the runs
    prompts = list(range(200))
    rng = np.random.default_rng(0)
    a, b = run(base, prompts), run(base * 1.01 + rng.normal(0, 1e-4, 200), prompts)
    paired, apart = compare(a, b), compare(run(base), run([one.ttft_s for one in b.requests]))
    assert paired.pairing == "order and prompt lengths"
    assert of(paired, "ttft_s").seen is True
    assert (apart.pairing, of(apart, "ttft_s").seen) == ("", False)
    assert of(paired, "ttft_s").smallest < of(apart, "ttft_s").smallest / 10


def test_requests_are_paired_by_id_in_any_order():
    values = noise(50, 1)
    ids = [f"r{i}" for i in range(50)]
    a = run(values, ids=ids)
    b = run(values[::-1] * 1.1, ids=ids[::-1])
    found = compare(a, b)
    assert found.pairing == "request ids"
    assert of(found, "ttft_s").b == pytest.approx(1.1 * of(found, "ttft_s").a)
    assert of(found, "ttft_s").seen


def test_prompts_of_one_length_are_no_evidence_of_pairs():
    assert compare(run(noise(30, 1), [64] * 30), run(noise(30, 2), [64] * 30)).pairing == ""


def test_requests_that_failed_in_one_run_are_in_no_pair():
    prompts = list(range(30))
    a, b = run(noise(30, 1), prompts), run(noise(30, 1), prompts)
    broken = (replace(b.requests[0], error="HTTP 500"), *b.requests[1:])
    found = compare(a, replace(b, requests=broken, completed=29, failed=1))
    assert of(found, "ttft_s").n == (29, 29)
    assert of(found, "ttft_s").change == 0


@pytest.mark.parametrize("n", [5, 40, 200])
def test_intervals_of_equal_runs_hold_zero_as_often_as_they_say(n):
    held = [not of(compare(run(noise(n, 2 * i)), run(noise(n, 2 * i + 1))), "ttft_s").seen for i in range(150)]
    assert np.mean(held) >= LEVEL - 3 * math.sqrt(LEVEL * (1 - LEVEL) / 150)


def test_neighbours_that_are_alike_widen_the_interval():
    rng = np.random.default_rng(0)
    walk = np.zeros(2000)
    for i in range(1, 2000):
        walk[i] = 0.95 * walk[i - 1] + rng.normal()
    alike = 1.0 + 0.01 * walk
    mixed = rng.permutation(alike)
    a, b = of(compare(run(alike), run(alike)), "ttft_s"), of(compare(run(mixed), run(mixed)), "ttft_s")
    assert a.smallest > 3 * b.smallest


def test_the_smallest_difference_is_seen_four_times_in_five():
    n = 200
    smallest = np.mean([of(compare(run(noise(n, i)), run(noise(n, 900 + i))), "ttft_s").smallest for i in range(20)])
    seen = [of(compare(run(noise(n, 2 * i)), run(noise(n, 2 * i + 1) + smallest)), "ttft_s").seen for i in range(200)]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.1)


def test_tails_need_requests_that_bound_them():
    names = [[one.metric for one in compare(run(noise(n, 1)), run(noise(n, 2))).differences] for n in (298, 299)]
    assert "ttft_s p99" not in names[0]
    assert "ttft_s p99" in names[1]


def test_a_longer_tail_with_the_same_mean_is_seen():
    a = noise(2000, 1, 0.001)
    b = a.copy()
    b[::50] += 0.1
    b -= b.mean() - a.mean()
    found = compare(run(a), run(b))
    assert of(found, "ttft_s").change == pytest.approx(0, abs=1e-9)
    assert of(found, "ttft_s p99").seen


def stated(mean, std, n, **more):
    return Imported(tool="x", statistics={"ttft_s": Statistic(stated_as="t", mean=mean, std=std, n=n)}, **more)


def test_stated_spreads_make_an_interval_and_say_what_it_rests_on():
    one = of(compare(stated(0.1, 0.01, 100), stated(0.105, 0.01, 100)), "ttft_s")
    reach = 1.972 * math.sqrt(2) * 0.001  # Student's t of 198 degrees of freedom
    assert (one.low, one.high) == (pytest.approx(0.005 - reach, rel=1e-3), pytest.approx(0.005 + reach, rel=1e-3))
    assert (one.seen, "independent" in one.method) == (True, True)


def test_means_without_a_spread_have_no_interval():
    one = of(compare(stated(0.1, None, 100), stated(0.2, None, 100)), "ttft_s")
    assert (one.low, one.seen, one.smallest) == (None, None, None)
    assert one.regressed(0.5)
    assert not one.regressed(1.5)


def test_a_regression_must_be_large_and_no_chance():
    a = run(noise(300, 1))
    slower, noisy = run(noise(300, 2) * 1.1), run(abs(noise(300, 2, 0.03)) * 1.001)
    assert of(compare(a, slower), "ttft_s").regressed(0.05)
    assert not of(compare(a, slower), "ttft_s").regressed(0.2)
    assert not of(compare(slower, a), "ttft_s").regressed(0.05)
    assert not of(compare(a, noisy), "ttft_s").regressed(0.0)


def test_less_throughput_is_worse_and_open_arrivals_tell_none():
    a, b = run(noise(30, 1), rates={"requests_per_s": 10.0}), run(noise(30, 2), rates={"requests_per_s": 8.0})
    one = of(compare(a, b), "requests_per_s")
    assert (one.worse, one.regressed(0.1)) == (pytest.approx(0.2), True)
    asked = Load(requests_per_s=9.0)
    assert "requests_per_s" not in [
        d.metric for d in compare(replace(a, load=asked), replace(b, load=asked)).differences
    ]


def test_what_else_differs_is_a_caution():
    a = run(noise(30, 1), [64] * 30, model="m", load=Load(concurrency=2))
    b = replace(run(noise(30, 2), [128] * 30, model="n", load=Load(concurrency=4)), tool="y")
    words = " ".join(compare(a, b).cautions)
    for said in (
        "model differs: m and n",
        "clients differ: x and y",
        "concurrency asked differs: 2 and 4",
        "prompts differ",
    ):
        assert said in words


def test_an_error_of_the_audit_is_a_caution(tmp_path):
    told = bench()
    told["mean_ttft_ms"] = 10.0
    (wrong,) = read_results(written(tmp_path, told))
    (right,) = read_results(written(tmp_path, bench(), "b.json"))
    assert any("error summary" in one for one in compare(right, wrong).cautions)


@settings(max_examples=40)
@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=40), st.lists(st.floats(0.01, 10), min_size=2, max_size=40))
def test_turning_the_runs_round_turns_the_difference(a, b):
    one, two = of(compare(run(a), run(b)), "ttft_s"), of(compare(run(b), run(a)), "ttft_s")
    assert one.a == two.b
    assert one.low == pytest.approx(-two.high, rel=1e-9, abs=1e-12)
    assert one.seen == two.seen


FACTS = {"model": "tutor", "load": {"requests_per_s": None, "concurrency": 2, "requests": 3}}


def test_our_own_saved_run_is_read_without_its_role_event(tmp_path):
    def record(index, **more):
        told = {
            "index": index,
            "scheduled_s": 0.0,
            "sent_s": 1.0 + index,
            "closed_s": 2.0 + index,
            "stamp_s": np.array([1.001, 1.25, 1.35, 1.45]) + index,
            "kind": np.array([ROLE, CONTENT, CONTENT, CONTENT], np.int8),
            "prompt_tokens": 7,
            "output_tokens": 3,
        }
        return RequestRecord(**told | more)

    write_records(tmp_path / "run", [record(0), record(1), record(2, state="closed", why="cut")], FACTS)
    (found,) = read_results(tmp_path / "run")
    one = found.requests[0]
    assert (one.ttft_s, one.e2e_s, one.output_tokens) == (pytest.approx(0.25), pytest.approx(0.45), 3)
    assert one.itl_s == pytest.approx((0.1, 0.1))
    assert (found.completed, found.failed, found.requests[2].error) == (2, 1, "cut")
    assert compare(found, found).pairing == "request ids"
    assert (found.model, found.load) == ("tutor", Load(concurrency=2, requests=3))
    other = replace(found, load=Load(concurrency=4, requests=3))
    assert compare(found, other).cautions == ("concurrency asked differs: 2 and 4",)
