"""Answers: every row gets one, with an interval, whatever is missing."""

from __future__ import annotations

import csv
import gzip
import json
import math

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.cli.answer import command
from reckoner.errors import InputError
from reckoner.predict.answer import answer, answer_raw
from reckoner.predict.rows import KINDS, NUMBERS

FULL = {
    "item": "a",
    "kind": "serving_tpot",
    "model": "meta-llama/Llama-3.1-8B",
    "hardware": "H100-SXM-80GB",
    "engine": "vllm",
    "dtype": "bf16",
    "layers": "32",
    "w_gb": "16.06",
    "params_b": "8.03",
    "active_b": "8.03",
    "kv_b": "131072",
    "n": "1",
    "n_eff": "1",
    "batch": "16",
    "n_in": "1024",
    "n_out": "1024",
    "ctx": "1536",
    "bw_gb_s": "3350",
    "mem_gb": "80",
    "peak_tflops": "989.5",
    "tdp_w": "700",
    "scenario": "closed_loop_concurrency:random_range_ratio0.8",
    "date": "2025-12",
}


def one(**changes: str):
    return answer_raw([FULL | changes])[0]


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(KINDS)), st.sets(st.sampled_from(sorted(set(FULL) - {"kind", "item"}))))
def test_every_kind_is_answered_whatever_is_missing(kind, missing):
    row = {k: ("" if k in missing else v) for k, v in FULL.items()} | {"kind": kind, "rate": "2"}
    found = answer_raw([row])[0]
    assert all(math.isfinite(v) and v > 0.0 for v in (found.predicted, found.low, found.high))
    assert found.low <= found.predicted <= found.high


def test_a_missing_figure_widens_the_interval():
    whole, part = one(), one(bw_gb_s="", w_gb="", params_b="")
    assert part.high / part.low > whole.high / whole.low


def test_tpot_of_8b_on_an_h100_is_within_reason():
    assert 0.005 < one().predicted < 0.03


def test_a_faster_memory_never_slows_decode():
    slow, fast = one(kind="decode_b1", batch="1", bw_gb_s="3350"), one(kind="decode_b1", batch="1", bw_gb_s="4800")
    assert fast.predicted < slow.predicted


def test_an_open_loop_at_a_higher_rate_waits_longer():
    rates = [one(kind="openloop_ttft", rate=r).predicted for r in ("0.5", "5", "20")]
    assert rates == sorted(rates)


def test_answers_keep_the_order_and_names_of_the_rows():
    found = answer_raw([FULL | {"item": name} for name in ("c", "a", "b")])
    assert [f.item for f in found] == ["c", "a", "b"]


def test_a_run_of_the_silicon_table_gets_a_ttft_and_a_tpot():
    run = {"id": "r1", "model_path": "meta-llama/Llama-3.1-70B", "system": "h200_sxm", "backend": "vllm"}
    more = {"precision": "fp8", "mode": "agg", "isl": "1024", "osl": "1024", "concurrency": "16", "tp_size": "4"}
    assert [f.item for f in answer_raw([run | more])] == ["r1:tpot", "r1:ttft"]


def test_a_network_is_answered():
    row = {"kind": "latency_ms", "model": "resnet50", "gmacs": "4.1", "hardware": "NPU:RK3588", "config": "x"}
    found = answer_raw([row | {"hardware_raw": "RK3588", "engine": "rknn", "weight_dtype": "int8", "run_id": "n1"}])[0]
    assert found.item == "n1"
    assert 0.1 < found.predicted < 1000.0


def test_a_file_of_unknown_kinds_alone_is_refused():
    with pytest.raises(InputError, match="kind is 'speed'"):
        answer_raw([FULL | {"kind": "speed"}])


def test_a_row_of_an_unknown_kind_is_left_empty_and_the_others_are_answered():
    found = answer_raw([FULL | {"kind": "speed", "item": "a"}, FULL | {"item": "b"}])
    assert (found[0].item, found[0].predicted, found[1].item) == ("a", None, "b")
    assert "kind is 'speed'" in found[0].why_not
    assert found[1].predicted == answer_raw([FULL])[0].predicted


def test_a_kind_is_known_however_it_is_padded_and_cased():
    assert answer_raw([FULL | {"kind": f" {FULL['kind'].upper()} "}]) == answer_raw([FULL])


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(NUMBERS),
        st.sampled_from(["", "0", "-1", "1e308", "1e-308", "nan", "inf", "abc", "1e6", "0.001", "1e30"]),
    )
)
def test_whatever_a_row_states_its_answer_is_finite_positive_and_ordered(odd):
    for kind in KINDS:
        found = answer_raw([FULL | odd | {"kind": kind}])[0]
        assert 0.0 < found.low <= found.predicted <= found.high < float("inf")


def test_a_file_of_another_schema_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column 'kind'"):
        answer(path)


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("item,kind\n")
    with pytest.raises(InputError, match="holds no rows"):
        answer(path)


def test_the_command_writes_item_predicted_low_high(tmp_path):
    path, out = tmp_path / "items.csv.gz", tmp_path / "p.csv"
    text = ",".join(FULL) + "\n" + ",".join(FULL.values()) + "\n"
    path.write_bytes(gzip.compress(text.encode()))
    result = CliRunner().invoke(command, [str(path), "-o", str(out)])
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert list(rows[0]) == ["item", "predicted", "low", "high"]
    assert float(rows[0]["low"]) < float(rows[0]["predicted"]) < float(rows[0]["high"])
    result = CliRunner().invoke(command, [str(path), "--json"])
    assert json.loads(result.stdout)[0]["item"] == "a"


def test_a_file_answered_part_by_part_reads_as_if_answered_whole(tmp_path, monkeypatch):
    rows = [FULL | {"item": ""}, FULL | {"kind": "speed", "item": ""}, FULL | {"item": "c"}, FULL | {"item": ""}]
    path = tmp_path / "x.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    whole = answer_raw(rows)
    monkeypatch.setattr("reckoner.predict.answer._PART", 1)
    parts = answer(path)
    assert [one.item for one in parts] == [one.item for one in whole] == ["0", "1", "c", "3"]
    assert [one.why_not for one in parts] == [one.why_not for one in whole]
    for one, other in zip(parts, whole, strict=True):
        assert one.predicted == (None if other.predicted is None else pytest.approx(other.predicted, rel=1e-9))


def test_a_gzipped_file_that_breaks_off_is_refused(tmp_path):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"item,kind\n" + bytes(range(256)).hex().encode() * 50)[:-20])
    with pytest.raises(InputError, match="gzipped or not"):
        answer(path)


def test_the_items_are_never_overwritten_by_their_answers(tmp_path):
    items = tmp_path / "items.csv"
    items.write_text("item,kind,model\na,decode_b1,llama-3.1-8b\n")
    (tmp_path / "link.csv").symlink_to(items)
    (tmp_path / "hard.csv").hardlink_to(items)
    before = items.read_bytes()
    for name in ("items.csv", "./items.csv", "link.csv", "hard.csv"):
        found = CliRunner().invoke(command, [str(items), "-o", str(tmp_path / name)])
        assert "choose another name, or it would be lost" in str(found.exception)
        assert items.read_bytes() == before
    assert (tmp_path / "link.csv").is_symlink()


def test_a_column_that_stands_twice_is_named(tmp_path):
    items = tmp_path / "items.csv"
    items.write_text("item,kind , kind\na,decode_b1,prefill_b1\n")
    with pytest.raises(InputError, match="column kind stands twice in the header; keep one"):
        answer(items)
    items.write_text(" item , kind,\na,decode_b1,\n")
    assert [one.item for one in answer(items)] == ["a"]
