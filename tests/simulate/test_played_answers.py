"""Rows that are played: open loops know queues, closed loops only where nobody measured, and every row is answered."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.cli import group
from reckoner.predict.answer import answer_raw
from reckoner.predict.rows import read_csv
from reckoner.simulate import answers as played
from reckoner.simulate.answers import Player, answer
from reckoner.simulate.runs import read_runs

RUNS = Path(__file__).parents[2] / "validation" / "simulation" / "vllm_requests.csv"
LOOP = {
    "item": "o",
    "kind": "openloop_tpot",
    "model": "meta-llama/Llama-3.1-8B",
    "hardware": "H100-SXM-80GB",
    "engine": "vllm",
    "engine_family": "vllm",
    "date": "2026-02",
    "dtype": "bf16",
    "n": "1",
    "n_eff": "1",
    "tp": "1",
    "n_in": "600",
    "n_out": "250",
    "rate": "5",
}
FIRST = {"kind": "openloop_ttft"}
CLOSED = LOOP | {"kind": "serving_tpot", "rate": "", "batch": "16", "scenario": "closed_loop_concurrency:x"}


def by_play(*rows):
    return answer_raw(list(rows), revise=Player().revise)


@settings(max_examples=25)
@given(
    st.sampled_from(["openloop_tpot", "openloop_ttft", "serving_tpot", "serving_ttft", "serving_tput"]),
    st.sets(st.sampled_from(sorted(set(LOOP) - {"kind", "item"}))),
    st.dictionaries(
        st.sampled_from(["rate", "batch", "n_in", "n_out", "tp", "ep", "pp", "n"]),
        st.sampled_from(["0", "-3", "nan", "1e9", "0.5", "7", "many"]),
        max_size=3,
    ),
)
def test_every_loop_is_answered_whatever_is_missing_or_odd(kind, missing, odd):
    row = {k: ("" if k in missing else v) for k, v in LOOP.items()} | {"kind": kind, "batch": "8"} | odd
    found = by_play(row)[0]
    assert all(math.isfinite(v) and v > 0.0 for v in (found.predicted, found.low, found.high))
    assert found.low <= found.predicted <= found.high


def test_latencies_grow_with_the_rate_and_waits_in_overload_beyond_what_the_formula_can_say():
    rates = ("1", "5", "20", "200")
    gaps = [a.predicted for a in by_play(*(LOOP | {"rate": r} for r in rates))]
    firsts = by_play(*(LOOP | FIRST | {"rate": r, "hardware": "NVIDIA A10"} for r in rates))
    assert gaps == sorted(gaps)
    assert [a.predicted for a in firsts] == sorted(a.predicted for a in firsts)
    assert (
        firsts[-1].predicted
        > 10.0
        > answer_raw([LOOP | FIRST | {"rate": "200", "hardware": "NVIDIA A10"}])[0].predicted
    )


def test_recorded_runs_told_by_their_means_alone_lie_inside_the_intervals():
    for run in read_runs(RUNS):
        card, name, _ = run.name.split("|")
        told = {
            "model": name,
            "hardware": card,
            "n_in": str(run.arrivals.prompt_tokens.mean()),
            "n_out": str(run.arrivals.output_tokens.mean()),
            "rate": str((len(run.arrivals) - 1) / run.arrivals.span_s),
        }
        gap, first = by_play(LOOP | told, LOOP | told | FIRST)
        assert gap.low < run.observed.tpot_s.mean() < gap.high
        assert first.low < run.observed.ttft_s.mean() < first.high


def test_an_older_engine_is_slower_by_what_the_formula_says_of_its_age():
    old, new, undated = by_play(*(LOOP | {"date": date} for date in ("2024-06", "2026-02", "")))
    assert old.predicted > 1.3 * new.predicted
    assert undated.predicted == new.predicted


def test_what_cannot_be_played_keeps_the_formulas_answer():
    odd = (
        {"model": "nobody/knows-7b"},
        {"hardware": "Raspberry Pi 5"},
        {"engine": "llama.cpp", "engine_family": "llama.cpp"},
        {"dtype": "a format of its own"},
        {"rate": ""},
        {"disagg": "True"},
        {"n_in": "3000000"},
    )
    rows = [LOOP | one for one in odd]
    assert by_play(*rows) == answer_raw(rows)


def test_a_model_by_another_publisher_is_found_by_the_beginning_of_its_name():
    same, other = by_play(LOOP, LOOP | {"model": "someone/Llama-3.1-8B-Instruct-FP8-dynamic", "params_b": "8.03"})
    assert other.predicted == same.predicted
    wrong = LOOP | {"model": "someone/Llama-3.1-8B-Instruct-FP8-dynamic", "params_b": "80"}
    assert by_play(wrong) == answer_raw([wrong])


def test_closed_loops_are_mixed_only_of_a_recent_vllm_and_only_where_nobody_measured():
    unmet = CLOSED | {"model": "google/gemma-7b", "hardware": "NVIDIA L4"}
    formula, mixed = answer_raw([unmet])[0], by_play(unmet)[0]
    assert mixed.predicted != formula.predicted
    assert math.log(mixed.high / mixed.low) < math.log(formula.high / formula.low)
    for other in ({"engine": "sglang", "engine_family": "sglang"}, {"date": "2024-06"}, {"date": ""}):
        assert by_play(unmet | other) == answer_raw([unmet | other])
    raw = read_csv(RUNS.parents[1] / "items.csv.gz")
    met = next(
        row
        for row in raw
        if row["kind"] == "serving_tpot" and row["source"] == "inferencex" and row["engine_family"] == "vllm"
    )
    assert by_play(met) == answer_raw([met])


def test_equal_loops_are_played_once_and_no_more_than_the_file_s_share(monkeypatch):
    calls = []
    real = played._play_open
    monkeypatch.setattr(played, "_play_open", lambda *given: calls.append(given) or real(*given))
    monkeypatch.setattr(played, "MOST_OPEN_LOOPS", 2)
    rows = [LOOP | kind | {"rate": rate} for rate in ("1", "2", "3") for kind in ({}, FIRST)]
    found = by_play(*rows, *rows)
    assert len(calls) == 2
    assert found[:6] == found[6:]
    assert found[4:6] == answer_raw(rows)[4:6]  # the third is computed


def test_without_compiled_kernels_the_formula_answers(monkeypatch):
    monkeypatch.setattr(played, "COMPILED", False)
    assert by_play(LOOP, CLOSED) == answer_raw([LOOP, CLOSED])


def test_the_command_plays_what_the_call_plays_in_any_parts(tmp_path, monkeypatch):
    path, out = tmp_path / "items.csv", tmp_path / "out.csv"
    rows = [LOOP, LOOP | FIRST | {"item": "p"}, CLOSED | {"item": "q"}]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({k for row in rows for k in row}))
        writer.writeheader()
        writer.writerows(rows)
    whole = answer(path)
    monkeypatch.setattr("reckoner.predict.answer._PART", 1)
    assert answer(path) == whole
    result = CliRunner().invoke(group, ["answer", str(path), "-o", str(out)])
    assert result.exit_code == 0
    with out.open(newline="") as file:
        told = [[float(row[k]) for k in ("predicted", "low", "high")] for row in csv.DictReader(file)]
    assert np.array(told) == pytest.approx(np.array([[a.predicted, a.low, a.high] for a in whole]), rel=1e-5)
