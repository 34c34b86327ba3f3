"""What was learned means the same for a design as for a row of measurements that describes it."""

import math

import numpy as np
import pytest

from reckoner.catalogue.find import device, devices, model
from reckoner.design import Design, Serving, Workload
from reckoner.errors import MissingFigureError
from reckoner.predict import deployment, effects, traits
from reckoner.predict.deployment import RECENT, SERVED, STREAMED, Point
from reckoner.predict.intervals import NOVELTIES
from reckoner.predict.numbers import numbers_of, point_of
from reckoner.predict.plan import prepare
from reckoner.predict.prediction import predict
from reckoner.predict.quantities import basis, log_quantity
from reckoner.predict.rows import build
from reckoner.predict.sweep import sweep

LLAMA, H100 = model("llama-3.1-8b"), device("h100")
KINDS = {
    "vllm": {"tpot": "serving_tpot", "ttft": "serving_ttft", "energy": "energy_per_tok"},
    "llama.cpp": {"tpot": "decode_b1", "ttft": "prefill_b1", "energy": "energy_per_tok"},
}


def row(engine, quantity, *, batch, prompt, output, weights="bf16", tp=1):
    table = SERVED if engine == "vllm" else STREAMED
    design = Design(model=LLAMA, device=H100, serving=Serving(weights=weights, engine=engine))
    figures = {
        "layers": 32,
        "w_gb": LLAMA.params * design.weights_format.bytes_per_element / 1e9,
        "params_b": LLAMA.params / 1e9,
        "active_b": LLAMA.active_params / 1e9,
        "kv_b": 131072,
        "n": tp,
        "n_eff": tp,
        "tp": tp,
        "batch": batch,
        "n_in": prompt,
        "n_out": output,
        "ctx": prompt + output / 2,
        "bw_gb_s": H100.bandwidth_bytes_per_s / 1e9,
        "mem_gb": 80,
        "peak_tflops": design.peak_flop_per_s / 1e12,
        "tdp_w": H100.tdp_w,
    }
    return {key: str(value) for key, value in figures.items()} | {
        "kind": KINDS[engine][quantity],
        "model": LLAMA.name,
        "hardware": H100.name,
        "engine": engine,
        "dtype": weights,
        "scenario": table[quantity][1],
        "date": "",
    }


@pytest.fixture
def random_effects(monkeypatch):
    """Every level that these rows could use, with a coefficient drawn at random."""
    raw = [
        row(engine, quantity, batch=b, prompt=p, output=o, weights=w)
        for engine in KINDS
        for quantity in SERVED
        if quantity != "rate"
        for b, p, o in ((1, 100, 10), (64, 1000, 100))
        for w in ("bf16", "fp8")
    ]
    rows = build(raw)
    words = effects.vocabulary(rows, basis(rows))
    values = np.random.default_rng(7).normal(0, 0.2, words.size)
    document = {
        "evidence": {"rows": len(raw), "dated": "2026-01-01"},
        "known": {
            "model": [LLAMA.name],
            "hardware": [H100.name],
            "family": [],
            "setting": [],
            "engine_setting": [],
            "pairs": {f"vllm|{H100.name}": 12},
        },
        "bands": {"": [0.1 * (i + 1) for i in range(len(NOVELTIES))]},
    }
    held = (words, values.tolist(), document)
    monkeypatch.setattr(deployment, "_data", lambda: held)
    traits.year.cache_clear()
    monkeypatch.setattr(traits, "_UNKNOWN_YEAR", RECENT)
    monkeypatch.setattr("reckoner.predict.plan._PLANS", {})
    yield words, values
    traits.year.cache_clear()


@pytest.mark.parametrize("weights", ["bf16", "fp8"])
@pytest.mark.parametrize(
    ("engine", "batch", "prompt", "output"),
    [("llama.cpp", 1, 100, 10), ("llama.cpp", 1, 2000, 500), ("vllm", 256, 500, 1000), ("vllm", 512, 1500, 200)],
)
def test_a_design_gets_the_quantities_of_a_row_that_describes_it(
    random_effects, engine, weights, batch, prompt, output
):
    words, values = random_effects
    design = Design(model=LLAMA, device=H100, serving=Serving(weights=weights, engine=engine, batch=batch))
    found = predict(design, Workload(prompt_tokens=prompt, output_tokens=output))
    asked = {"tpot": found.tpot_s, "ttft": found.ttft_s}
    for quantity, value in asked.items():
        rows = build([row(engine, quantity, batch=batch, prompt=prompt, output=output, weights=weights)])
        base = basis(rows)
        laid = effects.parts(rows, base, words)
        expected = math.exp(log_quantity(rows, base, effects.apply(laid, values, 1))[0])
        # Rows do not say how wide a model is, and count the asker among those that it waits for.
        least = getattr(found.outcome.least, f"{quantity}_s")  # rows may beat the printed limits, designs may not
        assert value == pytest.approx(max(expected, least), rel=0.08), quantity


@pytest.mark.usefixtures("random_effects")
def test_energy_follows_the_learned_power():
    design = Design(model=LLAMA, device=H100, serving=Serving(batch=64))
    found = predict(design)
    plan = prepare(design)
    numbers = numbers_of(design, found.workload)
    x = deployment.features(point_of(numbers))
    step = plan.step(numbers, plan.limits(numbers), 64.0, found.efficiency)
    watts = 0.7 * H100.tdp_w * plan.deployment.power(x, step.terms) * plan.factors(x).energy
    assert found.j_per_token * found.output_tokens_per_s == pytest.approx(watts)


@pytest.mark.usefixtures("random_effects")
def test_intervals_are_the_held_out_errors_of_what_is_as_new():
    known = predict(Design(model=LLAMA, device=H100))
    assert known.efficiency.n == 12
    assert known.novelty == "new engine"  # the fixture knows model and device, but no engine
    _, high = known.interval("tpot_s")
    assert math.log(high / known.tpot_s) == pytest.approx(0.1 * (NOVELTIES.index("new engine") + 1))
    new = predict(Design(model=model("gpt2"), device=device("l40s")))
    assert new.novelty == "new to most"
    assert new.sigma("tpot_s") > known.sigma("tpot_s")


@pytest.mark.usefixtures("random_effects")
def test_a_grid_of_learned_predictions_equals_them_one_by_one():
    base = Design(model=LLAMA, device=H100, serving=Serving(engine="sglang"))
    grid = sweep(base, batch=[1, 3, 64], tp=[1, 2], prompt_tokens=[5, 900], output_tokens=[1, 300])
    for found in grid.records():
        serving = Serving(engine="sglang", batch=found["batch"], tp=found["tp"])
        alone = predict(
            Design(model=LLAMA, device=H100, serving=serving),
            Workload(prompt_tokens=found["prompt_tokens"], output_tokens=found["output_tokens"]),
        )
        for name in ("ttft_s", "tpot_s", "requests_per_s", "memory_bytes", "j_per_token"):
            assert found[name] == pytest.approx(getattr(alone, name), rel=1e-9), name


def test_every_feature_that_a_slope_uses_is_known():
    named = {part for slopes, _ in effects.LAYOUT.values() for name in slopes.split() for part in name.split("*")}
    numbers = set(deployment.features(Point(1.0, 1.0, 1.0, 1.0, 1.0, 1.0))) | {"compute"}
    settled = set(deployment._settled(Design(model=LLAMA, device=H100)))
    assert named <= numbers | settled | deployment._ABSENT


@pytest.mark.usefixtures("random_effects")
def test_features_settled_ahead_change_no_factor():
    design = Design(model=LLAMA, device=H100, serving=Serving(batch=16, tp=2))
    plan, point = prepare(design), point_of(numbers_of(design, Workload()))
    ahead = plan.deployment.at(deployment.served_features(point)).factors(deployment.load_features(point))
    whole = plan.deployment.factors(deployment.features(point))
    assert ahead[2:] == pytest.approx(whole[2:])
    for name in ("mbu", "mbu_kv", "mfu", "mfu_decode", "layer", "layer_prefill", "link", "queue"):
        assert getattr(ahead.efficiency, name) == pytest.approx(getattr(whole.efficiency, name)), name
        assert getattr(ahead.first, name) == pytest.approx(getattr(whole.first, name)), name


@pytest.mark.parametrize("name", devices())
def test_every_device_is_predicted_explained_and_relieved_whatever_memory_it_lacks(name):
    on = device(name)
    if not on.peak_flop_per_s:
        with pytest.raises(MissingFigureError, match="present: none"):
            Design(model=model("gpt2"), device=on)
        return
    weights = "int8" if {"bf16", "fp16", "fp32"}.isdisjoint(on.peak_flop_per_s) else "bf16"
    found = predict(Design(model=model("gpt2"), device=on, serving=Serving(weights=weights)))
    assert 0.0 < found.tpot_s < np.inf
    assert found.explain()
    assert isinstance(found.relief(), tuple)
