"""What a network does and what its device can do, looked up where a row leaves it out."""

import csv
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.predict import network_work, networks

KINDS = {"dense", "depthwise", "attention", "full width", "token by token"}


def rows_of_shapes():
    text = (files("reckoner.predict") / "data" / "network_shapes.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def work(**row):
    return network_work.of([row], np.array([row.pop("threads", 1.0)]))


def test_every_shape_is_found_by_its_own_name_and_no_prefix_stands_twice():
    rows = rows_of_shapes()
    assert len({row["prefix"] for row in rows}) == len(rows)
    for row in rows:
        gmacs, weights, kind = network_work.shape(row["prefix"])
        assert (gmacs, weights, kind) == (float(row["gmacs"]), float(row["million_weights"]), row["kind"])
        assert gmacs > 0.0
        assert weights >= 0.0
        assert kind in KINDS


def test_the_longest_beginning_decides():
    assert network_work.shape("ResNet50")[0] == 4.1
    assert network_work.shape("resnet_3d")[0] == 40.7
    assert network_work.shape("yolov8n-seg")[0] != network_work.shape("yolov8n")[0]


def test_stated_multiply_adds_come_before_those_of_the_name():
    assert work(model="resnet50", gmacs="9.5").gmacs[0] == 9.5
    assert work(model="resnet50", gmacs="").gmacs[0] == 4.1
    assert not work(model="nothing known of this", gmacs="0").known[0]


def test_hand_computed_nominal_time():
    # 4.1 GMAC twice over 26 TOP/s and the call; weights stay on the chip
    found = work(model="resnet50", hardware="Hailo-8", engine="hailort", weight_dtype="int8")
    assert found.nominal_ms[0] == pytest.approx(2 * 4.1e9 / 26e12 * 1e3 + 0.03)
    # on an RK3566 the 25.6 million weights are read at 12.8 GB/s
    found = work(model="resnet50", hardware="NPU:RK3566", engine="rknn", weight_dtype="int8")
    assert found.nominal_ms[0] == pytest.approx(2 * 4.1e9 / 1e12 * 1e3 + 25.6e6 / 12.8e9 * 1e3 + 0.3)


def test_half_the_cores_take_twice_as_long():
    board = "NCNN:Rockchip RK3588 (Cortex-A76 2.4GHz x 4 + Cortex-A55 1.8GHz x 4)"
    four, eight = (
        work(model="vgg16", gmacs="1000", hardware=board, engine="ncnn", threads=float(n)).nominal_ms[0] for n in (4, 8)
    )
    assert four == pytest.approx(2 * eight, rel=1e-2)


def test_a_float_network_never_takes_the_whole_rate_of_eight_bit_products():
    narrow, wide = (
        work(model="vit", hardware="Hailo-8", engine="hailort", weight_dtype=name).ops_per_s[0]
        for name in ("int8", "float")
    )
    assert wide == narrow / 2


def test_a_graphics_rate_is_not_taken_for_a_processor_nor_the_other_way_round():
    assert not work(model="vgg16", hardware="NVIDIA RTX 3090", engine="ncnn").rated[0]
    assert not work(
        model="vgg16", hardware="NCNN:Rockchip RK3288-CG.W (Cortex-A17 1.8GHz x 4)", engine="ncnn-vulkan"
    ).rated[0]


@given(st.fixed_dictionaries({
    "kind": st.sampled_from([*networks.KINDS, "", "else"]),
    "model": st.sampled_from(["", "resnet50", "\x00", "日本", "x" * 900]),
    "gmacs": st.sampled_from(["", "0", "-1", "nan", "inf", "1e300", "3.5"]), "config": st.text(max_size=20),
    "hardware": st.sampled_from(["", "Hailo-8", "Hailo-8 x 999999999", "D99999999s", "MCU:", "h100", "?" * 300]),
    "hardware_raw": st.text(max_size=20),
    "engine": st.sampled_from(["", "ncnn", "ncnn-vulkan", "tensorflow", "who knows"]),
    "weight_dtype": st.sampled_from(["", "int8", "w8a16", "float", "??"]),
    "batch_or_concurrency": st.sampled_from(["", "0", "-3", "nan", "8"]),
}))  # fmt: skip
def test_whatever_a_row_states_its_answer_is_finite(row):
    log, width = networks.answer([row])
    assert np.isfinite(log).all()
    assert (width > 0.0).all()
    assert np.isfinite(width).all()


def test_a_row_without_a_name_is_of_any_network_and_never_of_a_known_cell():
    row = {"kind": "latency_ms", "hardware": "T4-16GB", "engine": "tensorflow", "weight_dtype": "fp16",
           "config": "T4-16GB|tensorflow|fp16|b1.0", "batch_or_concurrency": "1.0"}  # fmt: skip
    named = {**row, "model": "LanguageModeling/BERT/base|seq128.0"}
    _, (blank, known) = networks.answer([{**row, "model": ""}, named])
    assert blank > known


def test_cores_of_the_catalogue_come_before_those_of_the_name():
    found = work(model="vgg16", hardware="NCNN:AMD EPYC 7742 (2.25GHz) ubuntu 22.04 AOCC_4.2.0-Build#89", engine="ncnn")
    assert found.awake[0] == 1 / 64
