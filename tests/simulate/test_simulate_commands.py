from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from reckoner.cli import group
from reckoner.errors import InputError

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
