import dataclasses
import json

import pytest

from reckoner.engines.decoder import DecoderConfig
from reckoner.errors import DamagedError, EngineError, InputError
from reckoner.files import canonical_json
from reckoner.measure import curves
from reckoner.measure.curve_results import combine, constant_bytes
from reckoner.measure.curve_theory import theory_of
from reckoner.measure.curves import CurvesPlan, CurvesResult, Target, run_curves
from reckoner.measure.environment import fingerprint
from reckoner.measure.latency_rounds import Journal
from reckoner.measure.memory_point import MemoryPoint
from reckoner.measure.subjects import info

CONFIG = DecoderConfig(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=64,
    tie_word_embeddings=False,
)
TARGET = Target(name="tiny", engine="numpy", config=CONFIG)
PLAN = CurvesPlan(s_points=(8, 16, 32, 64), repeats=6, warmups=1, fit_up_to=32, point_budget_s=1.0)


def lawful_journal(plan, *, alpha=0.5, beta=1e-3, a=0.6, b=1e-2, c=1e-4):
    """Samples in seconds that follow known laws in milliseconds, without a clock."""
    samples = {}
    for s in plan.s_points:
        samples[f"cached:{s}"] = [(alpha + beta * s) / 1e3] * plan.repeats
        samples[f"uncached:{s}"] = [(a + b * s + c * s * s) / 1e3] * plan.repeats
    return Journal(
        model=info(TARGET, TARGET.weights(1024), 1024),
        environment=fingerprint(),
        planned=dict.fromkeys(samples, plan.repeats),
        warmups=dict.fromkeys(samples, 1),
        samples=samples,
        copy_bytes_per_s=[1e10, 2e10, 3e10],
        gemm_flop_per_s=[1e11],
        finished=True,
        processes=1,
    )


def _memory(s, growth, pages=None):
    theory = 2 * 2 * 2 * 8 * 4 * s
    return MemoryPoint(
        s=s,
        capacity=1024,
        bytes_allocated=2 * 2 * 2 * 8 * 4 * 1024,
        bytes_used=theory,
        theory_bytes=theory,
        page_bytes=pages or growth,
        rss_growth_bytes=growth,
        filled_by="prefill",
    )


MEMORY = tuple(_memory(s, max(65536, 256 * s)) for s in PLAN.s_points)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("curves")
    seen = []
    result = run_curves([TARGET], out=out, plan=PLAN, progress=seen.append)
    return out, result, seen


def test_a_run_writes_its_three_files_and_leaves_no_work_folder(finished):
    out, result, seen = finished
    assert sorted(path.name for path in out.iterdir()) == ["latency.json", "manifest.json", "memory.json"]
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    (one,) = result.targets
    assert [point.s for point in one.latency] == [8, 16, 32, 64]
    assert one.memory_errors.used == 0
    assert all(point.relative_logit_difference < 1e-5 for point in one.latency)
    assert one.environment.thread_env["OPENBLAS_NUM_THREADS"] == "1"


def test_a_run_is_read_back_as_it_was(finished):
    out, result, _ = finished
    assert CurvesResult.read(out) == result


def test_a_finished_run_is_not_measured_again(finished, monkeypatch):
    out, result, _ = finished
    monkeypatch.setattr(curves, "_child", None)
    assert run_curves([TARGET], out=out, plan=PLAN) == result


def test_the_manifest_says_what_the_seed_asks_for(finished):
    out, _, _ = finished
    manifest = json.loads((out / "manifest.json").read_text())
    assert {"experiment", "date", "seed", "versions", "hardware", "model", "config", "results_summary"} <= set(manifest)
    assert {"cpu_model", "cores_threads", "ram_gib", "cpu_governor_at_run"} == set(manifest["hardware"])
    assert {"name", "L", "H", "H_kv", "d_h", "S_max", "dtype"} <= set(manifest["model"])
    assert manifest["config"]["S_points"] == [8, 16, 32, 64]
    assert manifest["config"]["reps_per_point"] == 6
    assert {
        "memory_max_relative_error_to_theory",
        "latency_with_cache_R2",
        "latency_without_cache_R2",
        "crossover_S",
    } <= set(manifest["results_summary"])


def test_no_path_of_this_machine_is_in_the_artefacts(finished):
    out, _, _ = finished
    for path in out.iterdir():
        assert str(out) not in path.read_text()
        assert "/tmp/" not in path.read_text()


def test_files_of_different_runs_are_refused(finished, tmp_path):
    out, _, _ = finished
    for name in ("memory", "latency", "manifest"):
        (tmp_path / f"{name}.json").write_text((out / f"{name}.json").read_text())
    other = json.loads((out / "memory.json").read_text())
    other["key"] = "another"
    (tmp_path / "memory.json").write_text(canonical_json(other))
    with pytest.raises(DamagedError, match="different runs"):
        CurvesResult.read(tmp_path)


def test_a_field_that_is_missing_is_damage(finished, tmp_path):
    out, _, _ = finished
    for name in ("memory", "latency", "manifest"):
        (tmp_path / f"{name}.json").write_text((out / f"{name}.json").read_text())
    other = json.loads((out / "latency.json").read_text())
    del other["targets"][0]["points"][0]["s"]
    (tmp_path / "latency.json").write_text(canonical_json(other))
    with pytest.raises(DamagedError, match="missing required field `s`"):
        CurvesResult.read(tmp_path)


def test_a_killed_run_keeps_its_finished_points_and_writes_no_artefact(tmp_path, monkeypatch):
    real = curves._child
    calls = []

    def mortal(module, *arguments):
        calls.append(module)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(module, *arguments)

    monkeypatch.setattr(curves, "_child", mortal)
    with pytest.raises(KeyboardInterrupt):
        run_curves([TARGET], out=tmp_path, plan=PLAN)
    assert not list(tmp_path.glob("*.json"))
    calls.clear()
    calls.extend(["done"] * 3)
    run_curves([TARGET], out=tmp_path, plan=PLAN)
    # Latency and the first memory point were kept; three points were left.
    assert calls[3:] == ["reckoner.measure.memory_point"] * 3


def test_the_laws_of_the_samples_come_back_beside_theory():
    plan = dataclasses.replace(PLAN, s_points=(8, 16, 32, 64, 128))
    one = combine(TARGET.identity(), plan, lawful_journal(plan), MEMORY)
    assert [c.value for c in one.with_cache.coefficients] == pytest.approx([0.5, 1e-3])
    assert [c.value for c in one.without_cache.coefficients] == pytest.approx([0.6, 1e-2, 1e-4])
    assert one.with_cache.max_extrapolation_error < 1e-9
    assert one.crossover.reason == "cache faster everywhere"
    # 2 L H_kv d_h s = 256 bytes a token over 20 GB/s; weights less the embedding table likewise.
    assert one.theory.beta_ms_per_token == pytest.approx(1e3 * 256 / 2e10)
    assert one.theory.weight_ms == pytest.approx(1e3 * 4 * (one.model.parameters - 300 * 32) / 2e10)
    assert one.theory.overhead_ms == pytest.approx(0.5 - one.theory.weight_ms)
    assert one.latency[1].theory_ms_with_cache == pytest.approx(one.theory.weight_ms + 16 * 1e3 * 256 / 2e10)
    # 4 L H d_h over 100 GFLOP/s.
    assert one.theory.c_ms_per_token2 == pytest.approx(1e3 * 4 * 2 * 4 * 8 / 1e11)


def test_without_a_cache_theory_never_falls_below_one_stream_of_the_weights():
    one = combine(TARGET.identity(), PLAN, lawful_journal(PLAN), MEMORY)
    model, theory = one.model, one.theory
    slow_memory = theory_of(model, copy_bytes_per_s=1e6, gemm_flop_per_s=1e12, alpha_ms=1.0)
    assert slow_memory.without_cache_ms(8) == slow_memory.weight_ms == pytest.approx(1e3 * model.read_bytes / 1e6)
    # 24 L d^2 S + 4 L S^2 d generalised: projections with fewer key-value heads, a gated block, the head once.
    weights = 2 * (2 * 32 * 8 * (4 + 2) + 3 * 32 * 64)
    flops = 2 * weights * 65 + 4 * 2 * 32 * 65**2 + 2 * 32 * 300
    assert theory.without_cache_ms(64) == pytest.approx(max(1e3 * flops / 1e11, theory.weight_ms))


def test_memory_errors_are_the_largest_ones():
    one = combine(TARGET.identity(), PLAN, lawful_journal(PLAN), (_memory(8, 2048, 2560), _memory(64, 16384)))
    assert one.memory_errors.used == 0
    assert one.memory_errors.pages == pytest.approx(0.2)
    assert one.memory_errors.rss == pytest.approx(0.0)


def test_what_an_engine_holds_beside_its_cache_is_judged_by_differences():
    points = [
        dataclasses.replace(_memory(s, theory + 500_000 + noise), bytes_used=None, page_bytes=None, theory_bytes=theory)
        for s, theory, noise in ((8, 1000, 0), (16, 1000, 90), (32, 1000, -90), (64, 3000, 100))
    ]
    assert constant_bytes(points) == 500_000
    errors = combine(TARGET.identity(), PLAN, lawful_journal(PLAN), tuple(points)).memory_errors
    assert (errors.used, errors.pages) == (None, None)
    assert errors.rss == pytest.approx(0.05)


def test_an_unfinished_journal_gives_no_result():
    journal = lawful_journal(PLAN)
    journal.finished = False
    with pytest.raises(DamagedError, match="not finished"):
        combine(TARGET.identity(), PLAN, journal, MEMORY)


def test_a_child_that_fails_says_why_in_its_last_line(tmp_path):
    with pytest.raises(EngineError, match="No module named"):
        curves._child("reckoner.no_such_module", {}, tmp_path, {}, print)


def test_a_child_that_hangs_is_ended(tmp_path, monkeypatch):
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EngineError, match="sleeper ended with -9"):
        curves._child("sleeper", {}, tmp_path, {}, print, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"s_points": (0, 8, 16)}, "s_points holds 0"),
        ({"s_points": (16, 8, 32)}, "ascending"),
        ({"s_points": (8, 8, 16, 32)}, "once"),
        ({"fit_up_to": 8}, "fit_up_to is 8"),
        ({"repeats": 0}, "repeats is 0"),
        ({"warmups": 0}, "warmups 0"),
        ({"point_budget_s": 0.0}, "point_budget_s is 0"),
    ],
)
def test_a_plan_that_cannot_be_measured_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        CurvesPlan(**change)


def test_the_record_repeats_each_point_a_hundred_times_after_three_warm_ups():
    plan = CurvesPlan.record()
    assert (plan.repeats, plan.warmups, plan.s_points) == (100, 3, (8, 16, 32, 64, 128, 256, 512, 1024))
    assert CurvesPlan.demo().s_points == plan.s_points


@pytest.mark.parametrize(
    ("targets", "message"),
    [([], "targets is empty"), ([TARGET, TARGET], "each decoder and engine once")],
)
def test_no_targets_and_twice_the_same_are_refused(tmp_path, targets, message):
    with pytest.raises(InputError, match=message):
        run_curves(targets, out=tmp_path, plan=PLAN)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "x", "engine": "numpy"}, "one of these"),
        ({"name": "x", "engine": "numpy", "config": CONFIG, "folder": "here"}, "one of these"),
        ({"name": "x", "engine": "abacus", "config": CONFIG}, "engine is 'abacus'"),
        ({"name": "a/b", "engine": "numpy", "config": CONFIG}, "'a/b'"),
    ],
)
def test_a_target_says_exactly_what_it_is(arguments, message):
    with pytest.raises(InputError, match=message):
        Target(**arguments)


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.json is not there"):
        run_curves([Target(name="x", engine="numpy", folder=str(tmp_path))], out=tmp_path, plan=PLAN)


def test_a_memory_point_that_was_edited_is_refused_by_file(tmp_path):
    (tmp_path / "memory-8.json").write_text("{}")
    model = info(TARGET, TARGET.weights(1024), 1024)
    with pytest.raises(DamagedError, match=r"memory-8\.json is not a memory point .*delete it to measure anew"):
        curves._memory_point(TARGET, model, PLAN, 8, tmp_path)
