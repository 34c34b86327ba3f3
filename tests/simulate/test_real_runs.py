"""Recorded runs: read by name, scored whole, and the committed scores held to their goals."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from reckoner.cli import group
from reckoner.errors import InputError, UnknownNameError
from reckoner.files import read_json
from reckoner.simulate import Continuous, lognormal, poisson, simulate
from reckoner.simulate.prior import front_of, served
from reckoner.simulate.runs import design_of, read_runs
from reckoner.simulate.server import server_of

ROOT = Path(__file__).parents[2]
HERE = ROOT / "validation" / "simulation"
MOE, QUANTISED = "RTX-PRO-6000-BW-96GB|Qwen/Qwen3-30B-A3B|tp2", "H100-SXM-80GB|meta-llama/Llama-3.1-8B|tp1|fp8"
BOARD = read_json(ROOT / "docs" / "validation.json")["simulation"]


def recorded(name: str, n: int = 90) -> list[dict[str, object]]:
    """A run that the simulator itself made, in LLMServingSim's columns."""
    design = design_of(name)
    arrivals = poisson(4.0, lognormal(500.0, 150.0, output_cv=0.3), n=n, seed=2)
    expected, front = served(design), front_of(design)
    other = {name: 0.8 * getattr(expected, name) for name in ("mbu", "mbu_kv", "mfu", "mfu_decode")}
    other |= {name: 1.3 * getattr(expected, name) for name in ("layer", "layer_prefill")}
    truth = {"efficiency": replace(expected, **other), "front": replace(front, seconds=1.5 * front.seconds)}
    real = simulate(server_of(design, **truth, scheduler=Continuous(max_seqs=128)), arrivals)
    tpot = (real.finish_s - real.first_s) / np.maximum(real.output_tokens - 1, 1)
    return [
        {
            "run": name,
            "arrival_s": float(arrivals.arrival_s[i]),
            "input_toks": int(arrivals.prompt_tokens[i]),
            "output_toks": int(arrivals.output_tokens[i]),
            "ttft_ms": 1e3 * float(real.first_s[i] - real.arrival_s[i]),
            "tpot_ms": 1e3 * max(float(tpot[i]), 1e-6),
            "latency_ms": 1e3 * float(real.finish_s[i] - real.arrival_s[i]),
            "max_num_seqs": 128,
            "max_num_batched_tokens": 8192,
        }
        for i in range(n)
    ]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_both_runs_are_there_request_by_request_with_their_source_and_licence():
    with (HERE / "vllm_requests.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    runs = [row["run"] for row in rows]
    assert {run: runs.count(run) for run in set(runs)} == dict.fromkeys(BOARD["runs"], 300)
    page = (HERE / "README.md").read_text()
    assert "LLMServingSim" in page
    assert "MIT" in page


def test_every_percentile_is_within_five_percent_after_sixty_answers():
    for run in BOARD["runs"].values():
        for metric in ("ttft", "tpot", "e2e"):
            assert all(abs(run["after_60"][metric][f"p{q}"]) < 0.05 for q in (50, 90, 95, 99)), metric


def test_intervals_hold_nine_in_ten_percentiles_before_a_request_was_seen():
    assert BOARD["covered"] >= 90.0


@pytest.fixture(scope="module")
def anew(tmp_path_factory):
    """The page made anew by the command, beside other runs of which some cannot be read."""
    folder = tmp_path_factory.mktemp("runs")
    kept = write(folder / "kept.jsonl", [*recorded(MOE), *recorded(QUANTISED)])
    odd = recorded(MOE, 70)
    for row in odd:
        row["run"] = "H100-SXM-80GB|nobody/unheard-of-1b|tp1"
    write(folder / "odd.jsonl", odd)
    for name in ("validation.md", "validation.json"):
        (folder / name).write_bytes((ROOT / "docs" / name).read_bytes())
    words = ["validate", "--simulation", "--folder", str(ROOT / "validation"), "--out", str(folder / "validation.md")]
    for name in (kept.name, "odd.jsonl", "absent.csv"):
        words += ["--runs", str(folder / name)]
    said = CliRunner().invoke(group, words)
    assert said.exit_code == 0, said.output
    return folder


def test_the_committed_scores_are_those_of_the_code(anew):
    runs = read_json(anew / "validation.json")["simulation"]["runs"]
    for name, run in BOARD["runs"].items():
        for key in ("zero_shot", "after_60"):
            for metric, row in run[key].items():
                assert row == pytest.approx(runs[name][key][metric], abs=2e-3), (name, key, metric)


def test_the_committed_scores_of_closed_loops_are_those_of_the_code_and_first_tokens_of_vllm_carry_to_new_devices(anew):
    loops = read_json(anew / "validation.json")["simulation"]["loops"]
    assert [row["n"] for row in loops] == [row["n"] for row in BOARD["loops"]]
    for mine, committed in zip(loops, BOARD["loops"], strict=True):
        for held, row in committed["held"].items():
            assert mine["held"][held] == pytest.approx(row, abs=0.3), (mine["engine"], mine["source"], held)
    known = {(row["engine"], row["source"], row["metric"]): row["held"] for row in loops}
    assert known["vllm", "inferencex", "first token"]["device"]["median"] < 20.0
    assert known["vllm", "inferencex", "gap"]["device"]["median"] < 20.0


def test_other_runs_are_scored_as_well_and_those_that_cannot_be_read_are_refused_alone(anew):
    found = read_json(anew / "validation.json")["simulation"]
    assert set(found["runs"]) == {*BOARD["runs"], MOE, QUANTISED}
    assert set(found["refused"]) == {"odd.jsonl", "absent.csv"}
    for name in (MOE, QUANTISED):  # the simulator's own law, other efficiencies: what is left is the fit's own error
        assert all(abs(found["runs"][name]["after_60"]["e2e"][f"p{q}"]) < 0.02 for q in (50, 90, 95, 99)), name
        assert all(abs(found["runs"][name]["zero_shot"]["e2e"][f"p{q}"]) > 0.1 for q in (50, 90, 95, 99)), name


def test_the_other_parts_of_the_page_stay(anew):
    assert read_json(anew / "validation.json").keys() == read_json(ROOT / "docs" / "validation.json").keys()
    page = (anew / "validation.md").read_text()
    assert "## Worst 20 misses" in page
    assert "unheard-of-1b" in page


@pytest.mark.parametrize(
    ("name", "tp", "ep", "weights"),
    [
        ("RTX-PRO-6000-BW-96GB|Qwen/Qwen3-32B|tp2", 2, 1, "bf16"),
        ("RTX-PRO-6000-BW-96GB|Qwen/Qwen3-30B-A3B|tp2_ep2", 2, 2, "bf16"),
        ("RTX-PRO-6000-BW-96GB|Qwen/Qwen3-30B-A3B|tp1 ep2 dp2", 2, 2, "bf16"),
        ("H100-SXM-80GB|meta-llama/Llama-3.1-70B|tp4|fp8", 4, 1, "fp8"),
        ("A100-SXM-80GB|mistralai/Mixtral-8x7B-v0.1|tp2", 2, 1, "bf16"),
    ],
)
def test_a_run_is_known_by_its_name(name, tp, ep, weights):
    design = design_of(name)
    assert (design.serving.tp, design.serving.ep, design.serving.weights) == (tp, ep, weights)


def test_a_file_without_the_columns_names_those_found(tmp_path):
    rows = recorded("H100-SXM-80GB|meta-llama/Llama-3.1-8B|tp1", 12)
    with pytest.raises(InputError, match=r"no columns run and arrival_s; it has a"):
        read_runs(write(tmp_path / "a.jsonl", [{"a": 1}]))
    for row in rows:
        del row["ttft_ms"]
    with pytest.raises(InputError, match="no column ttft_s or ttft_ms"):
        read_runs(write(tmp_path / "b.jsonl", rows))
    with pytest.raises(InputError, match="names no device and model"):
        design_of("somewhere")
    with pytest.raises(UnknownNameError):
        design_of("no-such-card-9|llama-3.1-8b")


def test_a_time_that_is_no_number_is_refused_with_its_row(tmp_path):
    rows = recorded("H100-SXM-80GB|meta-llama/Llama-3.1-8B|tp1", 12)
    rows[3]["ttft_ms"] = float("nan")
    with pytest.raises(InputError, match="ttft_ms of row 4"):
        read_runs(write(tmp_path / "c.jsonl", rows))
