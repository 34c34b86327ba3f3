import json

import pytest
from click.testing import CliRunner

from import_runs import SAMPLES, bench, written
from reckoner.cli.compare import command as compare
from reckoner.cli.import_ import command as imported
from reckoner.errors import InputError, UnknownNameError
from reckoner.ledger import Ledger


def invoke(command, *words):
    result = CliRunner().invoke(command, [str(word) for word in words], standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.return_value, result.stdout


def test_a_lawful_run_exits_with_0_and_a_false_one_with_1():
    code, out = invoke(imported, SAMPLES / "vllm_bench_serve_0.32_detailed.json")
    assert code == 0
    assert "warning percentile-n: p90, p99 from 6 requests" in out
    code, out = invoke(imported, SAMPLES / "inference_perf_stage_3.json")
    assert code == 1
    assert "error identity: mean TTFT 50.5 ms + TPOT 7.52 ms" in out


def test_json_is_one_document_with_findings(tmp_path):
    files = [SAMPLES / "inference_perf_stage_3.json", SAMPLES / "llama_bench_100m_f16.json"]
    code, out = invoke(imported, *files, "--json")
    told = json.loads(out)
    assert code == 1
    assert [run["tool"] for run in told["runs"]] == ["inference-perf", "llama-bench", "llama-bench"]
    assert told["runs"][0]["findings"][0]["rule"] == "identity"


def test_one_run_of_several_is_chosen_by_its_number():
    _, out = invoke(imported, SAMPLES / "llama_bench_100m_f16.json", "--run", 2, "--json")
    assert [run["run"] for run in json.loads(out)["runs"]] == ["tg32"]
    with pytest.raises(InputError, match="holds 2 runs; --run 3 is none"):
        invoke(imported, SAMPLES / "llama_bench_100m_f16.json", "--run", 3)


def test_a_report_goes_to_stdout_or_to_a_file(tmp_path):
    file = SAMPLES / "vllm_bench_serve_0.32_detailed.json"
    _, out = invoke(imported, file, "--export", "llm-d")
    invoke(imported, file, "--export", "llm-d", "--out", tmp_path / "br.json")
    assert json.loads(out) == json.loads((tmp_path / "br.json").read_text())
    with pytest.raises(InputError, match="holds one run and 2 were read; choose one with --run"):
        invoke(imported, SAMPLES / "llama_bench_100m_f16.json", "--export", "llm-d")


def test_what_was_read_is_written_and_compared(tmp_path):
    file = SAMPLES / "vllm_bench_serve_0.32_detailed.json"
    invoke(imported, file, "--out", tmp_path / "x.json")
    code, out = invoke(compare, file, tmp_path / "x.json")
    assert code == 0
    assert "no difference seen" in out


def slower(factor):
    told = bench()
    told["ttfts"] = [ttft * factor for ttft in told["ttfts"]]
    for name in ("mean", "median", "p99"):
        told[f"{name}_ttft_ms"] *= factor
    del told["latencies"]
    return told


def test_a_regression_beyond_the_limit_exits_with_1(tmp_path):
    a, b = written(tmp_path, slower(1.0), "a.json"), written(tmp_path, slower(1.2), "b.json")
    assert invoke(compare, a, b)[0] == 0
    code, out = invoke(compare, a, b, "--max-regression", "5%", "--json")
    assert code == 1
    assert "ttft_s" in json.loads(out)["regressions"]
    assert invoke(compare, a, b, "--max-regression", "0.3")[0] == 0
    assert invoke(compare, b, a, "--max-regression", "5%")[0] == 0
    with pytest.raises(InputError, match="--max-regression is 'some'"):
        invoke(compare, a, b, "--max-regression", "some")


def test_files_with_different_numbers_of_runs_are_not_compared(tmp_path):
    with pytest.raises(InputError, match=r"holds 2 runs and .* 1; choose one of each with --run"):
        invoke(compare, SAMPLES / "llama_bench_100m_f16.json", SAMPLES / "inference_perf_stage_3.json")


def test_a_run_becomes_an_outcome_beside_a_prediction(tmp_path):
    file = written(tmp_path, bench())
    url = tmp_path / "l.db"
    code, out = invoke(imported, file, "--ledger", url, "--device", "h100", "--json")
    (told,) = json.loads(out)["ledger"]
    assert code == 0
    assert [row["metric"] for row in told["metrics"]] == ["ttft_s", "tpot_s", "e2e_s"]  # the rate was given
    assert told["assumed"] == "at most 256 sequences at once"
    with Ledger.open(url) as ledger:
        pairs = list(ledger.pairs())
    assert {(pair.metric, pair.predictor, pair.model) for pair in pairs} == {
        (metric, "physics", "llama-3.1-8b") for metric in ("ttft_s", "tpot_s", "e2e_s")
    }
    for pair, row in zip(
        sorted(pairs, key=lambda one: one.metric), sorted(told["metrics"], key=lambda r: r["metric"]), strict=True
    ):
        assert pair.prediction.seq < pair.observation.seq
        assert row["measured"] == pair.observed
        assert row["predicted_low"] <= row["predicted"] <= row["predicted_high"]
        assert row["measured_low"] < row["measured"] < row["measured_high"]
        assert row["ratio"] == pytest.approx(row["measured"] / row["predicted"])
    with pytest.raises(InputError, match="is in the ledger already"):
        invoke(imported, file, "--ledger", url, "--device", "h100")


def test_the_prediction_never_sees_the_outcome(tmp_path):
    fast, slow = written(tmp_path, slower(1.0), "a.json"), written(tmp_path, slower(3.0), "b.json")
    told = [
        json.loads(invoke(imported, file, "--ledger", tmp_path / "l.db", "--device", "h100", "--json")[1])["ledger"][0]
        for file in (fast, slow)
    ]
    assert [row["predicted"] for row in told[0]["metrics"]] == [row["predicted"] for row in told[1]["metrics"]]
    assert told[0]["metrics"][0]["measured"] < told[1]["metrics"][0]["measured"]


def test_what_the_file_does_not_name_must_be_given(tmp_path):
    file = SAMPLES / "vllm_bench_serve_0.32_detailed.json"
    with pytest.raises(InputError, match="names no device; give one with --device"):
        invoke(imported, file, "--ledger", tmp_path / "l.db")
    with pytest.raises(UnknownNameError, match="no model named 'fake'"):
        invoke(imported, file, "--ledger", tmp_path / "l.db", "--device", "h100")
    code, out = invoke(imported, file, "--ledger", tmp_path / "l.db", "--device", "h100", "--model", "llama-3.1-8b")
    assert code == 0
    assert "Llama 3.1 8B on NVIDIA H100" in out
    assert ", 2 at once; prediction 1-" in out  # the file's own limit
