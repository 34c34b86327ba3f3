import dataclasses

import pytest

from reckoner.engines.decoder import DecoderConfig
from reckoner.measure.curve_results import CurvesPlan, CurvesResult, combine
from reckoner.measure.environment import Environment
from reckoner.measure.latency_rounds import Journal
from reckoner.measure.memory_point import MemoryPoint
from reckoner.measure.subjects import Target, info
from reckoner.report.curves_figures import latency_chart, memory_chart
from reckoner.report.curves_text import (
    crossover_paragraph,
    latency_paragraph,
    law_table,
    memory_paragraph,
    readme,
    write_curves,
)

PLAN = CurvesPlan(repeats=8, fit_up_to=256)
CONFIG = DecoderConfig(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=2048,
    tie_word_embeddings=False,
)
HERE = Environment(
    versions={"python": "3.11.0", "numpy": "2.0.0"},
    cpu_model="A processor",
    physical_cores=2,
    logical_cores=2,
    usable_cores=2,
    ram_gib=16.0,
    governor=None,
    os="Linux",
    machine="x86_64",
    thread_env={"OMP_NUM_THREADS": "1"},
)


def _curves(engine="numpy", *, cached=lambda s: 0.5 + 1e-3 * s, uncached=lambda s: 0.6 + 0.01 * s + 1e-4 * s * s, n=8):
    target = Target(name="tiny", engine=engine, config=CONFIG)
    samples = {}
    for s in PLAN.s_points:
        samples[f"cached:{s}"] = [cached(s) / 1e3] * n
        samples[f"uncached:{s}"] = [uncached(s) / 1e3] * n
    journal = Journal(
        model=info(target, target.weights(1024), 1024),
        environment=HERE,
        warmups=dict.fromkeys(samples, 3),
        samples=samples,
        copy_bytes_per_s=[1e10],
        gemm_flop_per_s=[1e11],
        finished=True,
        processes=1,
    )
    memory = []
    for s in PLAN.s_points:
        filled = max(s, 256) if engine == "llamacpp" else s
        theory = 256 * filled
        pages = -(-theory // 4096) * 4096
        numpy = engine == "numpy"
        memory.append(
            MemoryPoint(
                s=s,
                capacity=1024 if numpy else filled,
                bytes_allocated=256 * 1024 if numpy else None,
                bytes_used=theory if numpy else None,
                theory_bytes=theory,
                page_bytes=pages if numpy else None,
                rss_growth_bytes=pages if numpy else theory + 10**6,
                filled_by="prefill" if numpy else "load",
            )
        )
    return combine(target.identity(), PLAN, journal, tuple(memory))


def _result(*targets):
    return CurvesResult(date="2026-11-20", key="k", plan=PLAN, targets=targets)


def test_the_same_result_gives_the_same_text_and_pictures(tmp_path):
    result = _result(_curves())
    assert readme(result) == readme(result)
    for name in ("one", "two"):
        write_curves(result, tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [
        "README.md",
        "latency.json",
        "latency.png",
        "manifest.json",
        "memory.json",
        "memory.png",
    ]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert CurvesResult.read(tmp_path / "one") == result


def test_every_picture_that_the_readme_names_is_written(tmp_path):
    result = _result(_curves(), _curves("llamacpp"))
    write_curves(result, tmp_path)
    text = (tmp_path / "README.md").read_text()
    for name in ("memory.png", "latency.png", "memory-tiny-llamacpp.png", "latency-tiny-llamacpp.png"):
        assert f"({name})" in text
        assert (tmp_path / name).exists()


def test_memory_at_its_floor_is_called_so():
    text = memory_paragraph([_curves()])
    assert "within 10% of the pages" in text
    assert "2 times theory at S = 8" in text
    assert "the floor (at least 4 KiB here)" in text


def test_memory_that_misses_its_pages_is_called_so():
    one = _curves()
    worse = dataclasses.replace(one, memory_errors=dataclasses.replace(one.memory_errors, pages=0.5))
    assert "is not within 10% of the pages" in memory_paragraph([worse])


def test_an_engine_that_fills_its_cache_at_start_is_described_as_such():
    text = memory_paragraph([_curves("llamacpp")])
    assert "fills its whole cache at start" in text
    assert "within 10% (largest error 0.0%)" in text


def test_a_clear_slope_and_a_good_fit_are_said():
    text = latency_paragraph([_curves(cached=lambda s: 0.5 + 1e-3 * s * (1 + 1e-3 * (s % 3)))])
    assert "R² 1.000; the slope is clear of zero" in text
    assert "within 10%." in text
    assert "a low one" not in text


def test_a_slope_lost_in_noise_is_said():
    text = latency_paragraph([_curves(cached=lambda s: 0.5 + (0.1 if s in (8, 128) else 0.0))])
    assert "the slope is not distinguishable from zero" in text
    assert "a low one" in text


def test_weights_that_come_faster_than_a_copy_are_no_negative_overhead():
    text = latency_paragraph([_curves(cached=lambda s: 1e-4 + 1e-7 * s)])
    assert "faster than a copy moves memory" in text
    assert "overhead." not in text


@pytest.mark.parametrize(
    ("cached", "uncached", "said"),
    [
        (lambda s: 1.0, lambda s: 2.0 + s, "no crossover: the cache is faster at every S measured, 10 times at S = 8"),
        (lambda s: 100.0, lambda s: 1.0, "no crossover: no gain at the longest S"),
        (lambda s: 10.0, lambda s: s / 4.0, "the cache pays off from S = 38;"),
    ],
)
def test_each_kind_of_crossover_has_its_sentence(cached, uncached, said):
    assert said in crossover_paragraph([_curves(cached=cached, uncached=uncached)])


def test_too_few_repeats_are_named():
    assert "too few repeats for an interval" in crossover_paragraph([_curves(n=3)])


def test_the_law_table_sets_theory_beside_every_fitted_coefficient():
    rows = law_table([_curves()]).rows
    assert [row[1] for row in rows] == ["alpha_ms", "beta_ms_per_token", "a_ms", "b_ms_per_token", "c_ms_per_token2"]
    assert rows[1][3] == "0.0000256"


def test_the_latency_picture_marks_the_crossover_or_says_there_is_none():
    (none,) = latency_chart(_curves()).annotations
    assert none.text == "no crossover: cache faster everywhere"
    (mark,) = latency_chart(_curves(cached=lambda s: 10.0, uncached=lambda s: s / 4.0)).annotations
    assert mark.kind == "vertical"
    assert mark.x == pytest.approx(38.05, abs=0.01)


def test_the_memory_picture_says_why_the_allocation_is_flat():
    chart = memory_chart(_curves())
    assert chart.log_y
    assert chart.annotations[0].text == "pre-allocation hides the growth: the cache is constant-size by design"
    assert len(set(chart.series[0].y)) == 1
    assert chart.series[3].style == "dots"
