from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from reckoner.cli import group
from reckoner.errors import InputError, ReckonerError

LOAD = ["--prompt", "512", "--output", "64", "-n", "600"]


def run(*words):
    found = CliRunner().invoke(group, list(words), catch_exceptions=False, standalone_mode=False)
    assert found.return_value == 0
    return found.stdout


def test_simulate_prints_one_document_with_percentiles_goodput_and_verdict():
    out = run("simulate", "llama-3.1-8b", "-d", "h100", "--rate", "10", *LOAD, "--ttft-p99", "1", "--json")
    found = json.loads(out)
    assert found["requests"] == 600
    assert found["meets"] is True
    p90 = found["latency"]["ttft_s"]["p90"]
    assert p90["low"] <= p90["value"] <= p90["high"]


def test_simulate_speaks_of_overload_and_of_the_slo_in_words():
    out = run("simulate", "llama-3.1-8b", "-d", "h100", "--rate", "900", *LOAD, "-n", "4000", "--ttft-p99", "0.1")
    assert "OVERLOAD" in out
    assert "SLO not met" in out


@pytest.mark.parametrize("policy", ["continuous", "prefill-first", "static", "dynamic"])
def test_every_policy_serves_a_trace(tmp_path, policy):
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{i / 5},300,20\n" for i in range(40)))
    out = run(
        "simulate", "llama-3.1-8b", "-d", "h100", "--policy", policy, "--trace", str(trace), "--times", "2", "--json"
    )
    found = json.loads(out)
    assert found["requests"] == 80
    assert found["latency"]["e2e_s"]["p99"] is None  # 80 requests bound no P99


def test_plots_are_written(tmp_path):
    run(
        "simulate",
        "llama-3.1-8b",
        "-d",
        "h100",
        "--clients",
        "8",
        *LOAD,
        "--plot",
        str(tmp_path / "load.png"),
        "--json",
    )
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def test_capacity_finds_a_rate_with_an_interval_or_devices_for_a_load():
    slo = ["--ttft-p99", "0.5", "--tpot-p99", "0.05"]
    rate = json.loads(run("capacity", "llama-3.1-8b", "-d", "h100", *LOAD, *slo, "--seeds", "2", "--json"))
    assert rate["low"] <= rate["requests_per_s"] <= rate["high"]
    fleet = json.loads(
        run("capacity", "llama-3.1-8b", "-d", "h100", *LOAD, *slo, "--rate", "100", "--availability", "0.999", "--json")
    )
    assert fleet["devices"] == fleet["needed"] + fleet["spares"]
    assert fleet["availability"] >= 0.999


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["simulate", "llama-3.1-8b", "-d", "h100"], "the load is given by nothing"),
        (["simulate", "llama-3.1-8b", "-d", "h100", "--rate", "1", "--clients", "2"], "--rate and --clients"),
        (["simulate", "llama-3.1-8b", "-d", "h100", "--rate", "1", "--times", "2"], "without a --trace"),
        (["capacity", "llama-3.1-8b", "-d", "h100"], "the SLO limits no latency"),
        (["simulate", "llama-3.1-8b", "-d", "h100", "--trace", "absent.csv"], "no file"),
    ],
)
def test_bad_questions_are_refused_with_the_remedy(words, said):
    with pytest.raises(InputError, match=said):
        run(*words)


def test_a_stream_prints_the_same_document_with_its_error():
    words = ["simulate", "llama-3.1-8b", "-d", "h100", "--rate", "10", *LOAD, "--ttft-p99", "1", "--json"]
    whole, found = json.loads(run(*words)), json.loads(run(*words, "--stream"))
    assert whole.keys() == found.keys()
    assert found["requests"] == 600
    for metric in ("queue_s", "ttft_s", "tpot_s", "e2e_s", "itl_s"):
        ours, exact = found["latency"][metric]["p99"], whole["latency"][metric]["p99"]
        assert ours["value"] == pytest.approx(exact["value"], rel=2 * ours["relative_error"])


def test_designs_are_searched_along_axes():
    words = [
        "capacity",
        "llama-3.1-70b",
        "-d",
        "h100",
        "-n",
        "400",
        "--seeds",
        "2",
        "--ttft-p99",
        "1",
        "--workers",
        "1",
    ]
    axes = ["--axis", "tp=1,2", "--axis", "pp=1,2", "--axis", "weights=bf16"]
    rows = json.loads(run(*words, *axes, "--json"))["found"]
    assert [row["devices"] for row in rows if row["capacity"] is None] == [1]
    best = rows[0]["capacity"]["requests_per_s"] / rows[0]["devices"]
    assert all(best >= row["capacity"]["requests_per_s"] / row["devices"] for row in rows[:-1])
    assert "tp" in run(*words, *axes)
    for bad, said in (("tp", "give a name once"), ("tp=a", "whole numbers"), ("tensor=1", "no axis named")):
        with pytest.raises(ReckonerError, match=said):
            run(*words, "--axis", bad)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("arrival_s,prompt_tokens,output_tokens\n0,9,9\n5,9,9\n3,9,9", "row 3: arrives 2 s before the row above"),
        ("arrival_s,prompt_tokens,output_tokens\n-1,9,9\n5,9,9", "row 1: arrives at -1 s"),
        ("arrival_s,prompt_tokens,output_tokens\nnan,9,9", "row 1: arrival_s is 'nan'"),
        ("arrival_s,prompt_tokens,output_tokens\n0,9000000000,9", "prompt_tokens.0. is 9000000000; .* 10,000,000"),
        ("when,prompt_tokens,output\n0,9,9", "no column for arrival, output; found when, prompt_tokens, output"),
        ("", "holds no requests"),
    ],
)
def test_a_trace_that_cannot_be_is_refused_by_row(tmp_path, lines, said):
    trace = tmp_path / "trace.csv"
    trace.write_text(lines)
    with pytest.raises(InputError, match=said):
        run("simulate", "llama-3.1-8b", "-d", "h100", "--trace", str(trace))


def test_requests_that_never_fit_or_hold_nothing_are_counted_by_name(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,0,10\n1,100,10\n2,900000,10\n3,100,20\n")
    words = ["simulate", "llama-3.1-8b", "-d", "h100", "--trace", str(trace)]
    for more in ([], ["--stream"]):
        out = run(*words, *more)
        assert "1 rejected: larger than the cache, first request 2 with 900,000 tokens in and 10 out" in out
        assert "(1 empty requests left out)" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rate", "nan"], "requests_per_s is nan"),
        (["--rate", "-1"], "requests_per_s is -1"),
        (["--rate", "1e300"], "to 1e.09"),
        (["--rate", "5", "--replicas", "0"], "replicas is 0"),
        (["--rate", "5", "--prompt", "0"], r"prompt_tokens\[0\] is 0"),
        (["--rate", "5", "--burst", "nan"], "cv is nan"),
        (["--rate", "5", "--pp", "500"], "32 layers"),
        (["--rate", "5", "--max-seqs", "0"], "max_seqs is 0"),
        (["--rate", "5", "--usd-per-hour", "nan"], "usd_per_hour is nan"),
        (["--rate", "5", "--seed", "-1"], "seed is -1"),
        (["--clients", "0"], "clients is 0"),
        (["--clients", "3", "--stream"], "a stream is an open loop"),
    ],
)
def test_absurd_numbers_are_refused_with_what_was_seen(words, said):
    with pytest.raises(InputError, match=said):
        run("simulate", "llama-3.1-8b", "-d", "h100", *LOAD, *words)


def told(*words):
    return json.loads(run(*words, "--json"))


def test_lengths_come_from_a_file_s_rows_for_rates_clients_streams_and_capacity(tmp_path):
    path = tmp_path / "lengths.csv"
    path.write_text("input_tokens,output_tokens\n" + "".join(f"{100 + 50 * i},{20 + i}\n" for i in range(9)) + "0,5\n")
    drawn = ("simulate", "llama-3.1-8b", "-d", "h100", "-n", "900", "--lengths", str(path))
    for load in (("--rate", "5"), ("--clients", "4"), ("--rate", "5", "--stream")):
        found = told(*drawn, *load)
        assert found["requests"] == 900
        assert 20.0 < found["output_tokens_per_s"] / found["requests_per_s"] < 28.0
    asked = ("capacity", "llama-3.1-8b", "-d", "h100", "-n", "400", "--seeds", "2", "--ttft-p99", "0.5")
    alike = told(*asked)["requests_per_s"]
    assert told(*asked, "--lengths", str(path))["requests_per_s"] > alike
    assert told(*asked, "--length-cv", "1")["requests_per_s"] < alike


def test_a_rate_moves_and_sessions_grow_from_the_command_line():
    asked = ("simulate", "llama-3.1-8b", "-d", "h100", "--prompt", "100", "--output", "20", "-n", "400")
    assert "ramp from 1 to 9 requests/s" in run(*asked, "--rate", "1", "--ramp-to", "9")
    assert told(*asked, "--rate", "1", "--ramp-to", "9")["requests_per_s"] == pytest.approx(5.0, rel=0.15)
    talk = (*asked, "--rate", "2", "--turns", "4", "--think", "1")
    assert "100 sessions of 4 turns" in run(*talk)
    assert told(*talk)["requests"] == 400


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--clients", "4", "--turns", "3"), "each shape a --rate"),
        (("--rate", "4", "--turns", "3", "--ramp-to", "5"), "one of them"),
        (("--rate", "4", "--ramp-to", "-1"), "requests_per_s is -1.0"),
        (("--rate", "4", "--turns", "0"), "turns is 0"),
        (("--rate", "4", "--turns", "3", "--stream"), "simulate closed loops and sessions as a whole"),
        (("--rate", "4", "--lengths", "nowhere.csv"), "there is no file 'nowhere.csv'"),
        (("--rate", "4", "--lengths", "{lengths}", "--length-cv", "1"), "leave one out"),
        (("--trace", "{lengths}", "--lengths", "{lengths}"), "has no column for arrival"),
    ],
)
def test_loads_that_contradict_themselves_are_named(tmp_path, options, said):
    path = tmp_path / "lengths.csv"
    path.write_text("input_tokens,output_tokens\n100,20\n")
    with pytest.raises(InputError, match=said):
        run("simulate", "llama-3.1-8b", "-d", "h100", "-n", "300", *(part.format(lengths=path) for part in options))
