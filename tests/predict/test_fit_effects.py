"""Fitting: a known law is recovered, held-out rows are really held out, likeness is local."""

from __future__ import annotations

import numpy as np
import pytest

from reckoner.predict import effects, intervals, kriging, networks, regress
from reckoner.predict.quantities import EFFECTS, basis, log_quantity
from reckoner.predict.rows import Rows, build
from reckoner.predict.splits import AXES, folds

DEVICES = {"H100-SXM-80GB": (3350, 989.5), "A100-SXM-80GB": (2039, 312), "MI300X-192GB": (5300, 1307.4)}
MODELS = {"meta-llama/Llama-3.1-8B": (8.03, 32), "meta-llama/Llama-2-13b-hf": (13.016, 40)}


def raw(measured: str = "1.0") -> list[dict[str, str]]:
    out = []
    for hardware, (bandwidth, peak) in DEVICES.items():
        for model, (params, layers) in MODELS.items():
            for engine in ("vllm", "sglang"):
                for batch in (1, 4, 16, 64):
                    for kind in ("serving_tpot", "serving_ttft"):
                        numbers = {
                            "layers": layers,
                            "w_gb": 2 * params,
                            "params_b": params,
                            "active_b": params,
                            "kv_b": 131072,
                            "n": 1,
                            "n_eff": 1,
                            "batch": batch,
                            "n_in": 1024,
                            "n_out": 256,
                            "ctx": 1152,
                            "bw_gb_s": bandwidth,
                            "mem_gb": 80,
                            "peak_tflops": peak,
                            "tdp_w": 700,
                        }
                        row = {k: str(v) for k, v in numbers.items()}
                        labels = {"kind": kind, "model": model, "hardware": hardware, "engine": engine, "dtype": "bf16"}
                        scene = {"scenario": "closed_loop_concurrency", "date": "2025-06", "source": engine}
                        out.append(row | labels | scene | {"measured": measured, "item": str(len(out))})
    return out


def with_law(law) -> Rows:
    rows = build(raw())
    u = np.zeros((len(rows), len(EFFECTS)))
    for name, value in law(rows).items():
        u[:, EFFECTS.index(name)] = value
    truth = np.exp(log_quantity(rows, basis(rows), u))
    return Rows(dict(rows.number) | {"measured": truth}, rows.label, rows.assumed)


def slower_engine(rows: Rows) -> dict[str, np.ndarray]:
    return {"weights": np.where(rows.label["family"] == "vllm", 0.8, 0.0), "layers": np.full(len(rows), 0.5)}


def test_a_known_law_is_recovered():
    rows = with_law(slower_engine)
    task = regress.problem(rows)
    found = regress.fit(task, regress.first_guess(task.words), learn=True, steps=12)
    u = effects.apply(task.laid, found.coefficients, len(rows))
    predicted = log_quantity(rows, task.base, u)
    error = np.abs(predicted - np.log(rows.number["measured"]))
    assert error.max() < 0.05
    assert np.median(error) < 0.01


def test_effects_survive_a_round_trip_through_json():
    task = regress.problem(with_law(slower_engine))
    beta = np.linspace(-1, 1, task.words.size)
    words, back, _, _ = effects.from_json(effects.to_json(task.words, beta, beta, np.arange(len(beta))))
    again = effects.apply(effects.parts(task.rows, task.base, words), back, len(task.rows))
    assert np.allclose(again, effects.apply(task.laid, beta, len(task.rows)), atol=1e-2)


def test_the_normal_equations_equal_the_dense_ones():
    task = regress.problem(with_law(slower_engine))
    rng = np.random.default_rng(1)
    n, m = len(task.rows), task.words.size
    slopes, weight = rng.normal(size=(n, len(EFFECTS))), rng.random(n)
    residual, beta = rng.normal(size=n), rng.normal(size=m)
    dense = np.zeros((n, m))
    for part in task.laid:
        has = part.index >= 0
        dense[np.flatnonzero(has), part.index[has]] += (slopes[:, part.effect] * part.value)[has]
    normal, right = regress.normal_equations(task.laid, slopes, weight, residual, beta)
    assert np.allclose(normal, (dense.T * weight) @ dense)
    assert np.allclose(right, (dense.T * weight) @ (residual + dense @ beta))


@pytest.mark.parametrize("axis", ["model", "device", "source"])
def test_no_level_that_is_held_out_is_fitted_on(axis):
    rows = build(raw())
    parts = folds(rows, axis, alone=1, together=1)
    assert sorted(np.concatenate(parts)) == list(range(len(rows)))
    for fold in parts:
        rest = np.setdiff1d(np.arange(len(rows)), fold)
        assert not set(rows.label[AXES[axis]][fold]) & set(rows.label[AXES[axis]][rest])


def test_the_hash_split_keeps_the_kinds_of_a_configuration_together():
    rows = build(raw())
    for fold in folds(rows, "cell", hashed=10):
        seen = {int(rows.label["item"][i]) // 2 for i in fold}
        assert len(fold) == 2 * len(seen)


def test_likeness_is_symmetric_positive_and_one_with_itself():
    rows = build(raw())
    where = kriging.points(rows, basis(rows))
    matrix = kriging.kernel(where, where)
    assert np.allclose(matrix, matrix.T)
    assert np.allclose(np.diag(matrix), kriging.PRIOR_VARIANCE)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9


def test_a_known_configuration_gets_its_residual_back_and_a_strange_one_nothing():
    rows = build(raw())
    where = kriging.points(rows, basis(rows))
    smoother = kriging.learn(where, np.full(len(rows), 0.2))
    mean, explained = kriging.smooth(smoother, where)
    assert np.allclose(mean, 0.2, atol=0.02)
    assert explained.min() > 0.9
    strange = build([dict(row, scenario="another") for row in raw()])
    mean, explained = kriging.smooth(smoother, kriging.points(strange, basis(strange)))
    assert not mean.any()
    assert not explained.any()


def test_intervals_cover_nine_of_ten_held_out_errors():
    rng = np.random.default_rng(0)
    group = np.array(["tpot"] * 4000, dtype=object)
    new = rng.integers(0, 3, 4000)
    error = rng.normal(size=4000) * np.array([0.05, 0.1, 0.3])[new]
    bands = intervals.calibrate(group, np.array(["s"] * 4000, dtype=object), new, error)
    width = np.array(bands.width["tpot"])[new]
    assert np.mean(np.abs(error) <= width) == pytest.approx(0.9, abs=0.02)


def test_what_was_never_met_is_called_new():
    rows = build(raw())
    known = intervals.Known.of(rows)
    other = build([dict(raw()[0], model="some/thing-9b"), dict(raw()[0], hardware="X-1"), raw()[0]])
    new = intervals.novelty(other, known, np.zeros(3))
    assert [intervals.NOVELTIES[i] for i in new] == ["new model", "new device", "new pairing"]


def test_networks_of_one_law_are_learned():
    rng = np.random.default_rng(0)
    table_rows = []
    for device, speed in (("NPU:a", 1.0), ("NPU:b", 4.0)):
        for model, gmacs in (("resnet50", 4.1), ("mobilenet", 0.3), ("yolov5s", 8.0)):
            for batch in (1, 2, 4):
                base = {"source": "s", "kind": "latency_ms", "engine": "e", "weight_dtype": "int8", "config": device}
                measured = gmacs * batch / speed * float(np.exp(0.01 * rng.normal()))
                numbers = {"gmacs": str(gmacs), "batch_or_concurrency": str(batch), "measured": str(measured)}
                table_rows.append(base | numbers | {"model": model, "hardware": device, "hardware_raw": device})
    table = networks.build(table_rows)
    words = networks.vocabulary(table)
    found = networks.fit(table, words)
    error = networks.apply(table, words, found.coefficients) - np.log(table.measured)
    assert np.median(np.abs(error)) < 0.1
