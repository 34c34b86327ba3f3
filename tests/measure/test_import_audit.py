from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_runs import SAMPLES, bench, optimum, sample, written
from reckoner.measure.importers.check import check
from reckoner.measure.importers.check_load import sent_per_s
from reckoner.measure.importers.findings import bracket
from reckoner.measure.importers.imported import Imported, Load, Request, Statistic
from reckoner.measure.importers.read import read_results


def audit(folder, told, run=0):
    return check(read_results(written(folder, told))[run])


def rules(findings, *severities):
    return {one.rule for one in findings if one.severity in (severities or ("error", "warning", "note"))}


def test_a_run_that_obeys_every_law_has_no_finding(tmp_path):
    assert audit(tmp_path, bench()) == ()


def test_generated_optimum_runs_obey_every_law(tmp_path):
    assert rules(audit(tmp_path, optimum()), "error") == set()


# Each breaks one figure of a lawful run; the finding must name the law and no other law may call it an error.
def scale(name, factor):
    def change(told):
        told[name] = [value * factor for value in told[name]]

    return change


def each_gap(change_row):
    def change(told):
        told["itls"] = [change_row(row) for row in told["itls"]]

    return change


def bursts(row):
    """The same time in two gaps of four, the others nothing: as packets of four tokens would show."""
    row = np.asarray(row[:28]).reshape(7, 4)
    packed = np.zeros_like(row)
    packed[:, 0] = row.sum(axis=1)
    return packed.ravel().tolist()


def role(told):
    told["itls"] = [[ttft - 0.0004 + row[0], *row[1:]] for ttft, row in zip(told["ttfts"], told["itls"], strict=True)]
    told["ttfts"] = [0.0004] * len(told["ttfts"])
    told.update(dict.fromkeys(("mean_ttft_ms", "median_ttft_ms", "p99_ttft_ms"), 0.4))


@pytest.mark.parametrize(
    ("change", "severity", "rule", "words"),
    [
        (lambda told: told["latencies"].__setitem__(5, 0.01), "error", "order", "1 request of 400 end before"),
        (scale("latencies", 1.5), "error", "identity", "misses E2E in 400 requests of 400"),
        (lambda told: told.update(mean_tpot_ms=5.0, median_tpot_ms=5.0), "error", "identity", "2 times as long"),
        (role, "error", "role-chunk", "median TTFT is 0.4 ms, less than 0.25 of a decode step"),
        (each_gap(lambda row: [*row, 0.0]), "error", "gap-count", "400 requests of 400 have more gaps .*400 too many"),
        (each_gap(bursts), "warning", "gap-count", "fewer gaps than tokens"),
        (each_gap(bursts), "warning", "coalescing", "median gap of 11,200 gaps is 0 ms but the mean"),
        (lambda told: told.update(request_rate=80.0), "error", "rate", "80 requests/s were asked"),
        (lambda told: told.update(request_rate=4.0), "warning", "rate", "more load than the label says"),
        (
            lambda told: told.update(request_rate="inf", max_concurrency=1),
            "error",
            "concurrency",
            "above the limit of 1",
        ),
        (
            lambda told: told.update(request_rate="inf", max_concurrency=50),
            "warning",
            "concurrency",
            "where 50 were asked",
        ),
        (
            lambda told: told.update(request_throughput=9.0),
            "warning",
            "throughput",
            "requests per second are stated as 9",
        ),
        (lambda told: told.update(output_throughput=999.0), "warning", "throughput", "output tokens per second"),
        (lambda told: told.update(duration=0.2), "error", "clock", "lasted .* in a run of 200 ms"),
        (lambda told: told.update(duration=2 * told["duration"]), "warning", "clock", "requests span"),
        (lambda told: told.update(mean_ttft_ms=55.0), "error", "summary", "mean ttft_ms is stated as 55 ms"),
        (lambda told: told.update(mean_e2el_ms=1.02 * told["mean_e2el_ms"]), "warning", "summary", "2.0% off"),
        (lambda told: told.update(p99_ttft_ms=70.0), "error", "summary", "p99 of ttft_ms is stated as 70 ms"),
        (lambda told: told.update(median_itl_ms=11.5), "error", "summary", "p50 of itl_ms"),
        (lambda told: told.update(p99_e2el_ms=100.0), "error", "percentiles", "e2el_ms has .* before"),
        (lambda told: told["output_lens"].__setitem__(0, 0), "warning", "empty-answers", "1 success of 400"),
    ],
)
def test_a_broken_figure_is_found(tmp_path, change, severity, rule, words):
    told = bench()
    change(told)
    found = [one for one in audit(tmp_path, told) if one.rule == rule and one.severity == severity]
    assert found, audit(tmp_path, told)
    import re

    assert any(re.search(words, one.says) for one in found), found
    assert all("\n" not in str(one) for one in found)


def test_failures_are_counted_and_looked_for_in_the_latencies(tmp_path):
    told = bench()
    for i in range(40):
        told["errors"][i] = "HTTP 500"
    told |= {"completed": 360, "failed": 40}
    found = audit(tmp_path, told)
    assert "failures" in rules(found, "warning")
    assert "40 requests of 400 failed (10.0%)" in str(next(one for one in found if one.rule == "failures"))
    (run,) = read_results(written(tmp_path, told))
    counted = replace(run, statistics={**run.statistics, "e2e_s": replace(run.statistics["e2e_s"], n=400)})
    assert "failed-in-latency" in rules(check(counted), "error")
    assert "failed-in-latency" not in rules(found)


def test_so_few_requests_carry_no_tail(tmp_path):
    found = audit(tmp_path, bench(n=50))
    assert [one.says for one in found if one.rule == "percentile-n"] == [
        "p99 from 50 requests: no upper bound can be given; p99 needs 299"
    ]


def test_a_part_of_the_requests_cannot_be_recomputed(tmp_path):
    told = bench()
    told["completed"] = 800
    assert "sample" in rules(audit(tmp_path, told), "note")
    assert "summary" not in rules(audit(tmp_path, told))


@pytest.mark.parametrize("file", ["vllm_bench_serve_0.32_detailed.json", "sglang_bench_rust_0.5.23.jsonl"])
def test_real_clients_against_a_real_engine_obey_the_laws(file):
    (run,) = read_results(SAMPLES / file)
    assert rules(check(run)) == {"percentile-n"}  # six requests


def test_the_published_rate_that_is_twice_too_high_is_found():
    (run,) = read_results(SAMPLES / "inference_perf_stage_3.json")
    found = check(run)
    (error,) = [one for one in found if one.severity == "error"]
    assert error.rule == "identity"
    assert "= 511 ms, but E2E is 1,021 ms (50% off)" in error.says
    assert "15.8 ms a token, 2.11 times as long" in error.says
    assert rules(found, "warning") == {"coalescing", "empty-answers"}


def test_placeholders_of_a_published_example_are_found():
    (run,) = read_results(SAMPLES / "llmd_report_0.2.1_cut.yaml")
    assert rules(check(run), "error") == {"order", "identity"}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("guidellm_0.8.1_six.json", "time_per_output_token_ms"),
        ("llmperf_summary_anyscale_7b.json", "inter_token_latency_s"),
    ],
)
def test_a_rate_that_holds_the_first_token_is_named(file, name):
    (run,) = read_results(SAMPLES / file)
    (found,) = [one for one in check(run) if one.rule == "definition"]
    assert found.says.startswith(f"{name} is ")
    assert rules(check(run), "error") == set()


def test_statistics_of_llama_bench_are_recomputed(tmp_path):
    told = sample("llama_bench_100m_f16.json")
    assert rules(audit(tmp_path, told)) == set()
    told[0]["avg_ns"] *= 1.2
    assert rules(audit(tmp_path, told), "error") == {"summary"}


# Properties

steps = st.floats(1e-4, 1.0)


@st.composite
def lawful(draw):
    """Requests of any shape whose figures obey the identity."""
    found = []
    for _ in range(draw(st.integers(1, 8))):
        tokens, ttft = draw(st.integers(2, 40)), draw(steps)
        gaps = tuple(draw(st.lists(steps, min_size=tokens - 1, max_size=tokens - 1)))
        told = {"ttft_s": ttft, "e2e_s": ttft + sum(gaps), "output_tokens": tokens, "prompt_tokens": 1}
        told |= {"itl_s": gaps} if draw(st.booleans()) else {"tpot_s": sum(gaps) / (tokens - 1)}
        found.append(Request(**told))
    return Imported(tool="reckoner", requests=tuple(found), completed=len(found), failed=0)


@given(lawful())
def test_lawful_requests_are_never_accused(run):
    assert not rules(check(run)) & {"identity", "order", "gap-count", "summary", "clock"}


@given(lawful(), st.integers(0, 7), st.floats(1.2, 10.0))
def test_one_latency_off_by_a_fifth_is_always_found(run, index, factor):
    index %= len(run.requests)
    broken = list(run.requests)
    one = broken[index]
    broken[index] = replace(one, e2e_s=one.e2e_s * factor + 0.01)
    assert "identity" in rules(check(replace(run, requests=tuple(broken))), "error", "warning")


@given(st.floats(1e-3, 10), st.floats(1e-4, 1), st.integers(2, 5000), st.floats(1.5, 10))
def test_means_that_add_up_pass_and_a_rate_off_by_half_does_not(ttft, tpot, tokens, factor):
    def run(step):
        figures = {"ttft_s": ttft, "tpot_s": step, "e2e_s": ttft + tpot * (tokens - 1), "output_tokens": tokens}
        return Imported(
            tool="x", statistics={name: Statistic(stated_as=name, mean=float(value)) for name, value in figures.items()}
        )

    assert "identity" not in rules(check(run(tpot)))
    wrong = check(run(tpot * factor))
    whole = ttft + tpot * (tokens - 1)
    far = tpot * (factor - 1) * (tokens - 1)
    assert ("identity" in rules(wrong, "error")) == (far > 0.1 * whole and far > 1e-3)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_every_usual_percentile_lies_in_the_bracket(values, q):
    ordered = np.sort(np.asarray(values))
    low, high = bracket(ordered, q)
    for method in ("linear", "lower", "higher", "nearest", "hazen", "weibull", "median_unbiased", "inverted_cdf"):
        assert low - 1e-9 <= np.quantile(ordered, q, method=method) <= high + 1e-9 * max(high, 1)


@given(st.lists(st.floats(0.01, 5.0), min_size=2, max_size=50), st.floats(0.01, 3.0))
def test_the_sending_rate_is_bounded_without_start_times(gaps, longest):
    starts = np.cumsum([0.0, *gaps])
    ends = starts + longest
    told = Imported(
        tool="x",
        duration_s=float(ends.max()),
        completed=len(starts),
        failed=0,
        statistics={"e2e_s": Statistic(stated_as="e2e", mean=longest, most=longest)},
        load=Load(requests_per_s=1.0),
    )
    low, high = sent_per_s(told)
    assert low <= len(gaps) / starts[-1] <= high * (1 + 1e-9)
