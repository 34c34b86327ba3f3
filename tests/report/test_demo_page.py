import re
import xml.etree.ElementTree as ET

import pytest
from worlds import WORLDS, usual

from reckoner.errors import InputError, MixedSetsError
from reckoner.evaluate.report import Report
from reckoner.finops.inputs import parse_inputs
from reckoner.finops.table import derive
from reckoner.measure.curve_results import CurvesPlan, CurvesResult, combine
from reckoner.measure.environment import fingerprint
from reckoner.measure.latency_rounds import Journal
from reckoner.measure.memory_point import MemoryPoint
from reckoner.measure.subjects import ModelInfo, TargetId
from reckoner.report.costs_words import best_cpqu
from reckoner.report.demo_figures import accuracy_chart, prefill_chart, price_chart, speed_chart, tense_chart
from reckoner.report.demo_page import demo_page
from reckoner.report.lineage import lineage_drawing

LINEAGE = """graph TD
  d1["v0.1.0<br/>a1b2c3d4"]
  d2["v0.2.0<br/>e5f6a7b8<br/>tombstoned"]:::tombstoned
  d3["v0.3.0 <&><br/>c9d0e1f2"]
  d1 --> d2
  d1 --> d3
  classDef tombstoned stroke-dasharray: 5 5
"""


def make(content, **fields):
    reports = {model["semver"]: model["eval_report"] for model in content["models"].values()}
    given = {"curves": None, "evaluation": reports, "lineage_mermaid": LINEAGE, "manifest": {"a": 1}} | fields
    return demo_page(costs=content, **given)


CONTEXTS = (8, 16, 32, 64, 128)


def curves():
    """A finished run on one engine whose timings follow the two laws exactly."""
    model = ModelInfo(
        name="tutor",
        n_layers=4,
        n_heads=4,
        n_kv_heads=2,
        head_dim=16,
        hidden=64,
        ffn=256,
        vocab=600,
        parameters=300_000,
        s_max=1024,
        dtype="float32",
        kv_dtype="float32",
        kv_bytes_per_element=4,
        read_bytes=1_200_000,
    )
    laws = {"cached": lambda s: 2e-4 + 1e-7 * s, "uncached": lambda s: 3e-4 + 1e-5 * s + 1e-7 * s * s}
    names = {f"{mode}:{s}": law(s) for mode, law in laws.items() for s in CONTEXTS}
    journal = Journal(
        model=model,
        environment=fingerprint(),
        planned=dict.fromkeys(names, 7),
        warmups=dict.fromkeys(names, 3),
        samples={name: [seconds] * 7 for name, seconds in names.items()},
        copy_bytes_per_s=[1e10],
        gemm_flop_per_s=[5e10],
        processes=1,
        finished=True,
    )
    memory = tuple(
        MemoryPoint(
            s=s,
            capacity=1024,
            bytes_allocated=1024 * 1024,
            bytes_used=1024 * s,
            theory_bytes=1024 * s,
            page_bytes=65536 + 1024 * s,
            rss_growth_bytes=65536 + 1024 * s,
            filled_by="prefill",
        )
        for s in CONTEXTS
    )
    target = TargetId(name="tutor", engine="numpy", config=None, seed=0, files={})
    plan = CurvesPlan(s_points=CONTEXTS, repeats=7, fit_up_to=64)
    return CurvesResult(date="2026-11-21", key="k", plan=plan, targets=(combine(target, plan, journal, memory),))


def test_the_curves_stand_on_the_page_with_their_figures_and_laws():
    page = make(usual(), curves=curves())
    for shown in ("plot-latency-tutor-numpy", "plot-memory-tutor-numpy", "alpha_ms", "no crossover"):
        assert shown in page
    assert 'id="kv-cache"' in page
    assert 'id="kv-cache"' not in make(usual())


def chart_reports(name):
    models = WORLDS[name]()["models"].values()
    return {model["semver"]: Report.from_json(model["eval_report"]) for model in models}


@pytest.mark.parametrize("name", WORLDS)
def test_every_outcome_makes_a_whole_page_that_loads_nothing(name):
    page = make(WORLDS[name]())
    assert page == make(WORLDS[name]())
    outside_scripts = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "://" not in outside_scripts
    for digest in WORLDS[name]()["models"]:
        assert f"<code>{digest[:8]}</code>" in page
    assert re.sub(r"[`]", "", best_cpqu(derive(parse_inputs(WORLDS[name]()))))[:40] in re.sub(r"</?code>", "", page)


def test_the_figures_show_what_the_reports_and_the_table_hold():
    reports, table = chart_reports("usual"), derive(parse_inputs(usual()))
    accuracy = accuracy_chart(reports)
    assert accuracy.categories == ("all core items", "cells seen in training", "cells held out")
    assert [series.y[0] for series in accuracy.series] == [reports[v].accuracy.accuracy for v in sorted(reports)]
    assert accuracy.series[0].low[0] == reports["v0.1.0"].accuracy.low
    lora = {series.name: series for series in tense_chart(reports).series}["v0.3.0"]
    assert lora.y[lora.x.index("past participle")] == reports["v0.3.0"].slices["tense"]["past_participle"].accuracy
    price = price_chart(table)
    assert [series.x[0] for series in price.series] == [1e3 * row.usd_per_1k_tokens for row in table.rows]
    assert speed_chart(table).series[0].y == (1400.0, 3300.0, 1200.0)
    assert prefill_chart(table).series[0].y == (11200.0, 26400.0, 9600.0)


def test_no_interval_of_an_accuracy_falls_off_its_figure():
    for name in WORLDS:
        for chart in (accuracy_chart(chart_reports(name)), tense_chart(chart_reports(name))):
            low, high = chart.y_range
            for series in chart.series:
                assert all(end is None or low <= end <= high for end in (*series.low, *series.high))


def test_speeds_without_prefill_have_no_prefill_figure():
    content = usual()
    for model in content["models"].values():
        model["throughput"]["prefill_tokens_per_s"] = None
        model["throughput"]["decode_tokens_per_s"] = None
    table = derive(parse_inputs(content))
    assert prefill_chart(table) is None
    assert [series.name for series in speed_chart(table).series] == ["new tokens, end to end"]
    assert "Prompt tokens per second" not in make(content)


def test_bad_artefacts_are_refused_as_the_table_refuses_them():
    content = usual()
    content["eval_set_hash"] = "ef" * 32
    with pytest.raises(MixedSetsError):
        make(content)
    content = usual()
    content["rate"]["usd_per_hour"] = 0
    with pytest.raises(InputError, match="usd_per_hour is 0"):
        make(content)


def test_the_lineage_is_drawn_as_well_formed_svg_with_parents_above_children():
    drawing = lineage_drawing(LINEAGE)
    svg = ET.fromstring(drawing.svg)
    boxes = {}
    texts = svg.findall("text")
    for box in svg.findall("rect"):
        x, y = float(box.get("x")), float(box.get("y"))
        inside = [t.text for t in texts if x < float(t.get("x")) < x + 168 and y < float(t.get("y")) < y + 62]
        boxes[inside[0]] = (x, y, box.get("stroke-dasharray"))
    assert set(boxes) == {"v0.1.0", "v0.2.0", "v0.3.0 <&>"}
    assert boxes["v0.1.0"][1] < boxes["v0.2.0"][1] == boxes["v0.3.0 <&>"][1]
    assert [boxes[name][2] is not None for name in sorted(boxes)] == [False, True, False]
    assert len(svg.findall("line")) == 2
    assert drawing.caption == "v0.1.0 stands at the root; v0.2.0 was made from v0.1.0; v0.3.0 <&> was made from v0.1.0."
    assert drawing.source == LINEAGE


def test_an_empty_registry_is_drawn_as_empty_and_a_strange_line_is_refused():
    assert lineage_drawing("graph TD\n").caption == "The registry is empty."
    with pytest.raises(InputError, match="line 2: 'what is this' is neither"):
        lineage_drawing("graph TD\n  what is this\n")
    with pytest.raises(InputError, match="'b' has an edge but no node"):
        lineage_drawing('graph TD\n  a["x"]\n  a --> b\n')
