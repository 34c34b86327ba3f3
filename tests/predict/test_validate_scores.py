"""Scores: the published rule, honest intervals, the yardstick, and the page made of them."""

from __future__ import annotations

import gzip
import re
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from reckoner.cli._validation_page import page
from reckoner.errors import InputError
from reckoner.predict import fit, scoreboard, traits, validate, yardstick
from reckoner.predict.rows import Rows, build
from reckoner.predict.validate import excluded, grades, thinned_out

FOLDER = Path(__file__).parents[2] / "validation"


def scored(sources, kinds, ratio) -> scoreboard.Scored:
    n = len(ratio)
    label = {
        "source": np.array(sources, dtype=object),
        "kind": np.array(kinds, dtype=object),
        "model": np.array(["m"] * n, dtype=object),
        "hardware": np.array([f"h{i}" for i in range(n)], dtype=object),
        "engine": np.array(["e"] * n, dtype=object),
        "class": np.array(["dc"] * n, dtype=object),
        "format": np.array(["f16"] * n, dtype=object),
    }
    return scoreboard.Scored(
        label=label, truth=np.zeros(n), log=np.log(ratio), half_width=np.full(n, 0.15), others={"yardstick": np.ones(n)}
    )


def test_the_error_is_a_share_of_the_measured_value():
    assert scoreboard.ape(np.log([2.0, 0.5]), np.zeros(2)).tolist() == [100.0, 50.0]


def test_a_summary_counts_what_lies_inside():
    found = scoreboard.summary(scored(["a"] * 4, ["k"] * 4, [1.0, 1.1, 1.3, 0.95]), np.ones(4, dtype=bool))
    assert (found["n"], found["coverage"]) == (4, 75.0)
    assert found["median_ape"] == pytest.approx(7.5)
    assert found["bias"] == pytest.approx(5.0)


def test_sources_weigh_the_same_whatever_their_size():
    rows = scored(["a"] * 10 + ["b"] * 90, ["k"] * 100, [1.2] * 10 + [1.1] * 90)
    assert scoreboard.averaged(rows, {})["k"]["median_ape"] == pytest.approx(15.0)


def test_small_sources_and_kinds_graded_c_are_left_out_but_ttft_is_kept():
    rows = scored(["a"] * 10 + ["b"] * 9 + ["c"] * 10, ["k"] * 29, [1.2] * 10 + [3.0] * 19)
    assert scoreboard.averaged(rows, {("c", "k"): "C"})["k"]["median_ape"] == pytest.approx(20.0)
    waits = scored(["c"] * 10, ["serving_ttft"] * 10, [1.5] * 10)
    assert scoreboard.averaged(waits, {("c", "serving_ttft"): "C"})["serving_ttft"]["sources"] == 1


def test_an_interval_is_calibrated_without_its_own_source():
    group, source = np.array(["g"] * 400, dtype=object), np.array(["calm"] * 200 + ["wild"] * 200, dtype=object)
    error = np.concatenate([np.full(200, 0.05), np.full(200, 0.5)])
    widths = scoreboard.honest_half_widths(group, source, np.zeros(400, dtype=int), error)
    assert widths[:200].min() == pytest.approx(0.5)
    assert widths[200:].max() == pytest.approx(0.05)


def row(**changes: str) -> dict[str, str]:
    base = {"kind": "decode_b1", "model": "x-7b", "hardware": "H100-SXM-80GB", "engine": "vllm", "dtype": "fp16"}
    numbers = {"w_gb": "14", "params_b": "7", "active_b": "7", "kv_b": "0", "n": "1", "batch": "1", "layers": "32"}
    return base | numbers | {"bw_gb_s": "1000", "peak_tflops": "900", "ctx": "100", "measured": "0.028"} | changes


def test_the_yardstick_is_bytes_over_bandwidth_over_one_efficiency():
    rows: Rows = build([row() for _ in range(5)])
    task_bound = yardstick.bare(rows, _basis(rows))
    assert np.exp(task_bound) == pytest.approx(np.full(5, 0.014), rel=1e-3)
    found = yardstick.fitted(rows, task_bound, np.arange(4), np.array([4]))
    assert np.exp(found) == pytest.approx([0.028], rel=1e-3)


def test_the_yardstick_falls_back_to_the_kind_for_what_it_has_not_met():
    rows = build([row() for _ in range(4)] + [row(hardware="RTX-4090-24GB", engine="exllama")])
    found = yardstick.fitted(rows, yardstick.bare(rows, _basis(rows)), np.arange(4), np.array([4]))
    assert np.isfinite(found).all()


def _basis(rows: Rows):
    from reckoner.predict.quantities import basis

    return basis(rows)


def test_the_worst_misses_name_each_cell_once():
    rows = scored(["a"] * 3, ["k"] * 3, [9.0, 1.0, 3.0])
    found = scoreboard.worst(rows, np.zeros(3, dtype=int), ["i", "j", "l"], count=2)
    assert [f["item"] for f in found] == ["i", "l"]
    assert all(f["likely"] for f in found)


def test_grades_and_exclusions_are_read_from_the_folder():
    assert grades("validation")["mlperf_llm", "offline_tput"] == "A"
    assert all(entry["rows"] > 0 and entry["reason"] for entry in excluded("validation"))


def test_rows_that_are_thinned_out_are_counted_by_source():
    every = build([row(source="a") for _ in range(5)] + [row(source="b") for _ in range(2)])
    found = thinned_out(every, every.take(np.array([0, 1, 5, 6])))
    assert [(f["file"], f["rows"]) for f in found] == [("a", 3)]


def test_the_page_shows_ours_beside_the_yardstick():
    rows = scored(["a"] * 10, ["serving_tpot"] * 10, [1.1] * 10)
    every = np.ones(10, dtype=bool)
    axis = {
        "averaged": scoreboard.averaged(rows, {}),
        "kind": scoreboard.by(rows, "kind"),
        "kind_source": scoreboard.by(rows, "kind", "source"),
        "class": scoreboard.by(rows, "class"),
        "format": scoreboard.by(rows, "format"),
        "all": scoreboard.summary(rows, every),
    }
    evidence = {"dated": "2026-11-20", "rows": 10, "scored_rows": 10, "open_rows": 10, "seed": 1, "quick": False}
    board = {
        "evidence": evidence,
        "items": dict.fromkeys(("in sample", "cell", "model", "device", "source"), axis),
        "silicon": {"cell": {"aggregated TPOT": scoreboard.summary(rows, every) | {"aiconfigurator": 16.7}}},
        "networks": {"cell": scoreboard.by(rows, "kind", "source")},
        "worst": scoreboard.worst(rows, np.zeros(10, dtype=int), [str(i) for i in range(10)]),
        "excluded": [{"file": "silicon.csv.gz", "rows": 3, "reason": "states no TTFT"}],
    }
    text = page(board)
    assert "| `serving_tpot` | 10, 171.8 | 10, 171.8 (goal 4)" in text
    assert "16.7" in text
    assert "states no TTFT" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 400


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CPU:AMD Ryzen 9 7950X", ("amd", "cpu")),
        ("GB300-NVL72-288GB", ("nvidia", "dc")),
        ("DGX-Spark-GB10", ("nvidia", "jetson")),
        ("Apple-M3-Ultra-80c-512GB", ("apple", "apple")),
        ("Gaudi-3", ("intel", "accelerator")),
    ],
)
def test_devices_are_sorted_by_name(name, expected):
    assert (traits.vendor(name), traits.device_class(name)) == expected


@pytest.mark.parametrize("name", ["items.csv.gz", "silicon.csv.gz", "nn_items.csv.gz", "source_quality.csv"])
@pytest.mark.parametrize("spoiled", [None, b"\x1f\x8b\x08\x00broken"])
def test_a_file_of_the_folder_that_cannot_be_read_is_named_before_anything_is_fitted(
    name, spoiled, tmp_path, monkeypatch
):
    for file in ("items.csv.gz", "silicon.csv.gz", "nn_items.csv.gz"):
        with gzip.open(FOLDER / file, "rt") as whole, gzip.open(tmp_path / file, "wt") as part:
            part.writelines(islice(whole, 40))
    shutil.copy(FOLDER / "source_quality.csv", tmp_path)
    (tmp_path / name).unlink()
    if spoiled is not None:
        (tmp_path / name).write_bytes(spoiled)
    monkeypatch.setattr(fit, "try_out", lambda *_, **__: pytest.fail("fitted before all files were read"))
    with pytest.raises(InputError, match=re.escape(name)):
        validate.run(tmp_path)
