import copy
import json
import random

import numpy as np
import pytest

from import_runs import SAMPLES, bench, changed, optimum, sample, written
from reckoner.errors import DamagedError, InputError, ReckonerError, UnknownNameError
from reckoner.files import canonical_json
from reckoner.measure.compare import compare
from reckoner.measure.importers.check import check
from reckoner.measure.importers.llmd_export import to_report
from reckoner.measure.importers.normalised import write
from reckoner.measure.importers.read import FORMS, TOOLS, read_results

PRESENT = [
    # file, tool, runs, requests of the first, model, rate or None, concurrency
    ("vllm_bench_serve_0.32_detailed.json", "vllm-bench", 1, 6, "fake", float("inf"), 2),
    ("vllm_rs_bench_0.33_detailed.json", "vllm-rs-bench", 1, 6, "fake", float("inf"), 2),
    ("sglang_bench_rust_0.5.23.jsonl", "sglang-bench", 1, 6, None, float("inf"), 2),
    ("guidellm_0.8.1_six.json", "guidellm", 1, 6, "fake", None, 2),
    ("guidellm_report_v2_cut.json", "guidellm", 2, 0, "e2e-mock-model", 2.0, None),
    ("aiperf_profile_export_cut.json", "aiperf", 1, 0, "fake", None, 2),
    ("aiperf_profile_export_first3.jsonl", "aiperf", 1, 3, None, None, None),
    ("inference_perf_stage_3.json", "inference-perf", 1, 0, None, 92.19, None),
    ("inferencex_conc64.json", "inferencex", 1, 0, "Qwen/Qwen3.5-397B-A17B", float("inf"), 64),
    ("llmperf_individual_first5.json", "llmperf", 1, 5, None, None, None),
    ("llmperf_summary_anyscale_7b.json", "llmperf", 1, 0, "meta-llama/Llama-2-7b-chat-hf", None, 5),
    ("llama_bench_100m_f16.json", "llama-bench", 2, 3, "100m-f16", None, 1),
    ("llmd_report_0.2.1_cut.yaml", "llm-d-benchmark", 1, 0, "Qwen/Qwen3-0.6B", 10.0, None),
]


@pytest.mark.parametrize(("file", "tool", "runs", "requests", "model", "rate", "concurrency"), PRESENT)
def test_a_tool_is_known_by_its_content(file, tool, runs, requests, model, rate, concurrency):
    found = read_results(SAMPLES / file)
    first = found[0]
    assert (len(found), first.tool, len(first.requests), first.model) == (runs, tool, requests, model)
    assert (first.load.requests_per_s, first.load.concurrency) == (rate, concurrency)
    assert first.source == file
    assert len(first.digest) == 64


@pytest.mark.parametrize(("file", "tool"), [(row[0], row[1]) for row in PRESENT])
def test_naming_the_right_tool_reads_the_same(file, tool):
    assert read_results(SAMPLES / file, tool=tool) == read_results(SAMPLES / file)


@pytest.mark.parametrize(("file", "tool"), [(row[0], row[1]) for row in PRESENT])
def test_every_other_tool_is_refused_by_what_was_recognised(file, tool):
    family = {"vllm-bench", "vllm-rs-bench", "sglang-bench"}  # one set of keys; which wrote it can be overruled
    for other in set(TOOLS) - {tool} - (family if tool in family else set()):
        with pytest.raises(InputError, match=f"no {other} result: .* it looks like {tool} "):
            read_results(SAMPLES / file, tool=other)


@pytest.mark.parametrize(
    ("file", "run", "metric", "mean"),
    [
        ("vllm_bench_serve_0.32_detailed.json", 0, "ttft_s", 0.05856971216674841),
        ("sglang_bench_rust_0.5.23.jsonl", 0, "e2e_s", 0.1958356305),
        ("guidellm_report_v2_cut.json", 0, "ttft_s", 0.011481165885925293),
        ("aiperf_profile_export_cut.json", 0, "itl_s", 0.015296109544444443),
        ("inference_perf_stage_3.json", 0, "tpot_s", 0.007516017549608276),
        ("llmperf_summary_anyscale_7b.json", 0, "normalised_tpot_s", 0.01887842475580952),
        ("llama_bench_100m_f16.json", 0, "ttft_s", 0.127605041),
        ("llama_bench_100m_f16.json", 1, "tpot_s", 0.164067419 / 32),
        ("llmd_report_0.2.1_cut.yaml", 0, "ttft_s", 0.0368578234128654),
    ],
)
def test_a_stated_mean_is_in_seconds(file, run, metric, mean):
    assert read_results(SAMPLES / file)[run].statistics[metric].mean == pytest.approx(mean, rel=1e-12)


def test_medians_without_means_are_read_as_medians():
    (run,) = read_results(SAMPLES / "inferencex_conc64.json")
    told = run.statistics["ttft_s"]
    assert (told.mean, told.at(0.5), told.at(0.99), told.n) == (None, 5.428644580300897, 13.585581564456225, 640)


def test_requests_of_aiperf_state_their_own_rate_and_gaps():
    (run,) = read_results(SAMPLES / "aiperf_profile_export_first3.jsonl")
    one = run.requests[0]
    assert one.tpot_s == pytest.approx((one.e2e_s - one.ttft_s) / 15)
    assert len(one.itl_s) == 15
    assert one.start_s == pytest.approx(1795215365.964285194)


def test_optimum_benchmark_is_read_from_both_of_its_files(tmp_path):
    told = optimum()
    (run,) = read_results(written(tmp_path, told))
    assert (run.tool, run.device, run.model) == (
        "optimum-benchmark",
        "NVIDIA A100-SXM4-80GB",
        "meta-llama/Llama-3.1-8B",
    )
    assert run.statistics["tpot_s"].mean == pytest.approx(told["report"]["decode"]["latency"]["mean"] / 15)
    assert run.values("tpot_s").mean() == pytest.approx(run.statistics["tpot_s"].mean)
    (bare,) = read_results(written(tmp_path, told["report"]))
    assert bare.values("ttft_s") == pytest.approx(run.values("ttft_s"))
    assert (bare.model, "tpot_s" in bare.statistics) == (None, False)  # tokens out stand in the configuration


def test_optimum_benchmark_without_latency_says_what_to_turn_on(tmp_path):
    told = {"load_model": {"latency": None}, "prefill": {"latency": None}, "decode": {"latency": None}}
    with pytest.raises(InputError, match=r"\$\.prefill\.latency is null; run the benchmark with latency=true"):
        read_results(written(tmp_path, told))


def test_genai_perf_is_aiperf_without_a_version(tmp_path):
    told = sample("aiperf_profile_export_cut.json")
    for key in ("aiperf_version", "schema_version", "input_config"):
        del told[key]
    told["input_config"] = {"model": ["llama"], "perf_analyzer": {"stimulus": {"concurrency": 4}}}
    (run,) = read_results(written(tmp_path, told))
    assert (run.tool, run.version, run.model, run.load.concurrency) == ("genai-perf", None, "llama", 4)


@pytest.mark.parametrize("nested", [False, True])
def test_requests_of_inference_perf_are_timed_by_their_stamps(tmp_path, nested):
    stamps = {"output_tokens": 3, "output_token_times": [10.5, 10.6, 10.75]}
    info = {"input_tokens": 7, "response_metrics": stamps} if nested else {"input_tokens": 7, **stamps}
    good = {"start_time": 10.0, "end_time": 10.8, "request": "{}", "info": info, "error": None}
    bad = {**good, "info": {"input_tokens": 7}, "error": {"error_type": "Timeout", "error_msg": "too slow"}}
    (run,) = read_results(written(tmp_path, [good, bad]))
    one, two = run.requests
    assert (one.ttft_s, one.e2e_s, one.prompt_tokens, one.output_tokens) == (0.5, pytest.approx(0.8), 7, 3)
    assert one.itl_s == pytest.approx((0.1, 0.15))
    assert (two.error, two.e2e_s, run.completed, run.failed) == ("too slow", None, 1, 1)
    with pytest.raises(InputError, match=r"\$\[0\]\.end_time is 9.0, before start_time 10.0; the clock stepped back"):
        read_results(written(tmp_path, [{**good, "end_time": 9.0}, good]))


def test_failed_requests_keep_no_latency(tmp_path):
    told = bench(n=20)
    told["errors"][3], told["ttfts"][3], told["latencies"][3], told["itls"][3] = "HTTP 503", 0.0, 0.0, []
    told |= {"completed": 19, "failed": 1}
    (run,) = read_results(written(tmp_path, told))
    assert (run.requests[3].error, run.requests[3].ttft_s, len(run.values("ttft_s"))) == ("HTTP 503", None, 19)
    assert run.values("ttft_s").min() > 0.04


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda told: told["ttfts"].__setitem__(3, -0.1), r"\$\.ttfts\[3\] is -0.1"),
        (lambda told: told["itls"][2].__setitem__(1, float("nan")), r"\$\.itls\[2\]\[1\] is nan"),
        (lambda told: told["latencies"].__setitem__(0, "soon"), r"\$\.latencies\[0\] is 'soon'"),
        (lambda told: told["output_lens"].__setitem__(0, True), r"\$\.output_lens\[0\] is True"),
        (lambda told: told.update(mean_ttft_ms=float("inf")), r"\$\.mean_ttft_ms is inf"),
        (lambda told: told.update(duration=-1), r"\$\.duration is -1"),
        (lambda told: told["ttfts"].pop(), r"\$\.input_lens has 20 entries but \$\.ttfts has 19"),
        (lambda told: told.update(ttfts={"a": 1}), r"\$\.ttfts is \{'a': 1\}; a list"),
        (lambda told: told.update(completed=2.5), r"\$\.completed is 2.5; a whole number"),
    ],
)
def test_a_figure_that_cannot_be_is_named_by_its_path(tmp_path, change, path):
    told = bench(n=20)
    change(told)
    with pytest.raises(InputError, match=path) as caught:
        read_results(written(tmp_path, told))
    assert "\n" not in str(caught.value)
    assert "result.json" in str(caught.value)


@pytest.mark.parametrize("file", [row[0] for row in PRESENT])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_cut_off_is_refused_in_one_line(tmp_path, file, share):
    content = (SAMPLES / file).read_bytes()
    path = tmp_path / file
    path.write_bytes(content[: int(len(content) * share)])
    if path.suffix == ".yaml":  # a cut YAML file can still be whole YAML; then a part that it needs is missing
        with pytest.raises((InputError, DamagedError)) as caught:
            read_results(path)
        assert "\n" not in str(caught.value)
        return
    with pytest.raises(DamagedError, match=r"line \d+, column \d+") as caught:
        read_results(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("", InputError, "is empty"),
        ("[]", InputError, "is empty"),
        ("   \n", InputError, "is empty"),
        ("{}", InputError, "begins with an empty object"),
        ("[1, 2]", InputError, r"\$\[0\] is of no known tool .it begins with a int"),
        ('{"a": 1}', InputError, "begins with a"),
        ("ttft", DamagedError, "line 1, column 1"),
        ('{"benchmarks": [], "metadata": {}}', InputError, "holds no run"),
        ("[" * 100_000, DamagedError, "nested too deeply|column"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path, content, error, words):
    with pytest.raises(error, match=words) as caught:
        read_results(written(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_table_a_missing_file_and_bytes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"give the \.json"):
        read_results(written(tmp_path, "Metric,avg\n", "profile.csv"))
    with pytest.raises(InputError, match="no file"):
        read_results(tmp_path / "none.json")
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DamagedError, match="no text"):
        read_results(tmp_path / "x.json")
    with pytest.raises(UnknownNameError, match="Did you mean vllm"):
        read_results(written(tmp_path, bench(n=3)), tool="vlm")


def test_files_of_two_tools_in_one_are_refused(tmp_path):
    lines = json.dumps(bench(n=3)) + "\n" + json.dumps(sample("llama_bench_100m_f16.json")[0]) + "\n"
    with pytest.raises(InputError, match=r"\$\[1\] is no vllm-bench result"):
        read_results(written(tmp_path, lines, "x.jsonl"))


def test_what_aiperf_scraped_from_the_server_is_told_apart(tmp_path):
    told = {"schema_version": "1", "aiperf_version": "0.13.0", "summary": {}, "metrics": {}}
    with pytest.raises(InputError, match=r"scraped from the server; give profile_export_aiperf\.json"):
        read_results(written(tmp_path, told))


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
@pytest.mark.parametrize("file", [row[0] for row in PRESENT])
def test_the_normalised_file_holds_all_that_was_read(tmp_path, file, suffix):
    runs = read_results(SAMPLES / file)
    assert read_results(write(tmp_path / f"x{suffix}", runs)) == runs


def test_a_damaged_parquet_file_is_refused(tmp_path):
    content = write(tmp_path / "x.parquet", read_results(SAMPLES / PRESENT[0][0])).read_bytes()
    (tmp_path / "x.parquet").write_bytes(content[:-200])
    with pytest.raises(DamagedError, match="cut off"):
        read_results(tmp_path / "x.parquet")


def test_an_unknown_field_of_our_own_file_is_named(tmp_path):
    path = write(tmp_path / "x.json", read_results(SAMPLES / PRESENT[0][0]))
    told = json.loads(path.read_text())
    told["runs"][0]["requests"][1]["ttft_ms"] = 3
    with pytest.raises(InputError, match=r"\$\.runs\[0\]\.requests\[1\]\.ttft_ms is no field"):
        read_results(written(tmp_path, told))


def test_every_form_has_a_sample_or_a_generated_file():
    tried = {row[1] for row in PRESENT} | {"optimum-benchmark", "reckoner"}
    assert {form.tool for form in FORMS} == tried


def test_values_are_of_successes_alone(tmp_path):
    (run,) = read_results(written(tmp_path, changed(bench(n=5), errors=["", "x", "", "", ""], completed=4, failed=1)))
    assert run.values("itl_s").shape == (4 * 31,)
    assert run.values("normalised_tpot_s") == pytest.approx(run.values("e2e_s") / 32)
    assert np.isfinite(run.values("tpot_s")).all()


def leaves(value, path=()):
    """Paths of all that lies in a document; of lists, the first two entries."""
    children = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from leaves(child, (*path, key))


WRONG = (None, "x", "", -1, 0, 1e308, 10**400, float("nan"), True, [], {}, [1], {"a": 1}, "inf", 2.5, [None], "\ud800")


@pytest.mark.parametrize("file", [row[0] for row in PRESENT if row[0].endswith(".json")])
def test_whatever_stands_in_a_field_the_file_is_read_or_refused_in_one_line(tmp_path, file):
    told = sample(file)
    places = list(leaves(told))
    draw = random.Random(file)
    for place in draw.sample(places, min(len(places), 40)):
        broken = copy.deepcopy(told)
        inside = broken
        for key in place[:-1]:
            inside = inside[key]
        inside[place[-1]] = draw.choice(WRONG)
        try:
            for run in read_results(written(tmp_path, broken)):
                check(run)
                compare(run, run)
                canonical_json([run.to_json(), to_report(run)])
        except ReckonerError as error:
            assert "\n" not in str(error)  # noqa: PT017 - which values are refused is another law


def test_a_number_too_large_is_refused_by_its_path(tmp_path):
    told = bench(n=3)
    told["ttfts"][1] = 10**400
    with pytest.raises(InputError, match=r"\$\.ttfts\[1\] is 1000.*at most 1e\+20"):
        read_results(written(tmp_path, told))
