import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.calibrate.deployment import Calibration, keys_of
from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving, Workload
from reckoner.errors import DamagedError, InputError, UnknownNameError
from reckoner.predict.efficiency import IDEAL, PRIOR
from reckoner.predict.prediction import predict

WORKLOAD = Workload(prompt_tokens=1024.0, output_tokens=256.0)


def design(name: str = "llama-3.1-8b", on: str = "h100", engine: str = "vllm", batch: float = 1.0) -> Design:
    return Design(model=model(name), device=device(on), serving=Serving(engine=engine, batch=batch))


def ask(calibration: Calibration, asked: Design):
    return predict(asked, WORKLOAD, efficiency=calibration.efficiency(asked))


def learn(calibration: Calibration, asked: Design, factor: float, times: int = 1) -> Calibration:
    truth = factor * ask(Calibration(), asked).tpot_s
    for _ in range(times):
        calibration = calibration.update(ask(calibration, asked), {"tpot_s": truth})
    return calibration


def change(calibration: Calibration, asked: Design) -> float:
    return ask(calibration, asked).tpot_s / ask(Calibration(), asked).tpot_s


def test_nothing_learned_on_a_given_base_is_that_base():
    efficiency = Calibration(base=PRIOR).efficiency(design())
    assert (efficiency.mbu, efficiency.mfu, efficiency.source, efficiency.n) == (
        PRIOR.mbu, PRIOR.mfu, PRIOR.source, 0,
    )  # fmt: skip
    np.testing.assert_allclose(efficiency.covariance, PRIOR.covariance)


@pytest.mark.parametrize("on", ["a100", "a10g", "rtx-4090", "m2-max"])
@pytest.mark.parametrize("engine", ["vllm", "transformers", "llama.cpp"])
def test_nothing_learned_is_what_predict_has_learned(on, engine):
    asked = design(on=on, engine=engine)
    said, known = ask(Calibration(), asked), predict(asked, WORKLOAD)
    assert said.tpot_s == pytest.approx(known.tpot_s, rel=0.2)
    assert said.ttft_s == pytest.approx(known.ttft_s, rel=0.2)
    efficiency = Calibration().efficiency(asked, WORKLOAD)
    assert efficiency.source == known.efficiency.source
    assert max(efficiency.mbu, efficiency.mfu, efficiency.link) <= 1.0
    assert np.all(np.diag(efficiency.covariance) > 0.0)


def test_a_share_that_stands_at_its_limit_can_still_be_learned_down():
    at_limit, start = design(), Calibration(base=replace(PRIOR, mbu=1.0))
    learned = learn(start, at_limit, 1.6, 12)
    assert ask(learned, at_limit).tpot_s == pytest.approx(1.6 * ask(Calibration(), at_limit).tpot_s, rel=0.05)


@pytest.mark.parametrize("factor", [0.8, 1.3, 2.0])
def test_a_deployment_measured_again_and_again_is_predicted_as_measured(factor):
    asked, start = design(engine="transformers"), Calibration()  # far enough from the printed limits to be faster
    assert change(learn(start, asked, factor, 12), asked) == pytest.approx(factor, rel=0.05)


def test_what_is_learned_reaches_relatives_the_nearer_the_more():
    learned = learn(Calibration(), design(), 1.6, 6)
    same = change(learned, design())
    model_away = change(learned, design("qwen3-8b"))
    device_away = change(learned, design(on="a100"))
    engine_away = change(learned, design(engine="sglang"))
    assert same > model_away > device_away > engine_away == pytest.approx(1.0)
    assert model_away > 1.3
    assert device_away > 1.05


def test_two_models_teach_the_third_more_than_one():
    one = learn(Calibration(), design(), 1.6, 4)
    two = learn(one, design("qwen3-8b"), 1.6, 4)
    third = design("mistral-7b")
    assert abs(change(two, third) - 1.6) < abs(change(one, third) - 1.6)
    assert ask(two, third).sigma("tpot_s") < ask(one, third).sigma("tpot_s") < ask(Calibration(), third).sigma("tpot_s")


def test_a_measurement_leaves_the_calibration_it_came_from_untouched():
    before = learn(Calibration(), design(), 1.2)
    mean, covariance = before.mean.copy(), before.covariance.copy()
    after = learn(before, design("qwen3-8b"), 1.5)
    np.testing.assert_array_equal(before.mean, mean)
    np.testing.assert_array_equal(before.covariance, covariance)
    assert len(after.keys) == 4
    assert after.efficiency(design()).n == 2
    assert before.efficiency(design()).n == 1


def test_the_first_token_teaches_the_prefill_and_gaps_teach_the_step():
    start = Calibration()
    said = ask(start, design())
    prefill = start.update(said, {"ttft_s": 2.0 * said.ttft_s})
    step = start.update(said, {"tpot_s": 2.0 * said.tpot_s})
    assert ask(prefill, design()).ttft_s > 1.5 * said.ttft_s
    assert ask(prefill, design()).tpot_s < 1.1 * said.tpot_s
    assert ask(step, design()).tpot_s > 1.5 * said.tpot_s
    assert ask(step, design()).ttft_s < 1.2 * said.ttft_s


def test_one_run_with_a_fault_is_outvoted():
    sound = learn(Calibration(), design(), 1.2, 8)
    hurt = learn(sound, design(), 12.0)
    assert change(hurt, design()) == pytest.approx(change(sound, design()), rel=0.1)


def test_throughput_is_learned_as_its_inverse():
    start = Calibration()
    said = ask(start, design(batch=8.0))
    learned = start.update(said, {"output_tokens_per_s": said.output_tokens_per_s / 1.5})
    assert ask(learned, design(batch=8.0)).output_tokens_per_s < said.output_tokens_per_s / 1.25


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0, True, "1"])
def test_a_value_that_cannot_be_measured_is_refused(value):
    with pytest.raises(InputError, match="tpot_s is"):
        Calibration().update(ask(Calibration(), design()), {"tpot_s": value})


def test_an_empty_an_unknown_and_an_array_measurement_are_refused():
    said = ask(Calibration(), design())
    with pytest.raises(InputError, match="measurement is empty"):
        Calibration().update(said, {})
    with pytest.raises(UnknownNameError, match="tpots"):
        Calibration().update(said, {"tpots": 1.0})
    grid = Design(model=model("llama-3.1-8b"), device=device("h100"), serving=Serving(batch=np.array([1.0, 2.0])))
    with pytest.raises(InputError, match="predict one point"):
        Calibration().update(predict(grid, WORKLOAD), {"tpot_s": 0.01})


def test_a_calibration_survives_a_trip_through_json():
    learned = learn(learn(Calibration(), design(), 1.4, 3), design("qwen3-8b"), 0.8)
    copy = Calibration.from_dict(json.loads(json.dumps(learned.to_dict())))
    assert (copy.keys, copy.counts) == (learned.keys, learned.counts)
    assert ask(copy, design("mistral-7b")).tpot_s == ask(learned, design("mistral-7b")).tpot_s
    for damage in ({"names": ["mbu"]}, {"mean": [1.0]}, {"keys": None}):
        with pytest.raises(DamagedError, match="calibration"):
            Calibration.from_dict({**learned.to_dict(), **damage})


def test_a_base_that_is_sure_of_itself_is_refused():
    with pytest.raises(InputError, match="has no covariance"):
        Calibration(base=IDEAL)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["llama-3.1-8b", "qwen3-8b", "mistral-7b"]),
            st.sampled_from(["h100", "a100"]),
            st.sampled_from(["ttft_s", "tpot_s", "e2e_s"]),
            st.floats(0.2, 5.0),
        ),
        max_size=8,
    )
)
def test_any_measurements_leave_a_covariance_that_is_one_and_shares_within_the_limits(sequence):
    calibration = Calibration()
    for name, on, metric, factor in sequence:
        asked = design(name, on)
        said = ask(calibration, asked)
        calibration = calibration.update(said, {metric: factor * getattr(said, metric)})
    covariance = calibration.covariance
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-12)
    assert covariance.size == 0 or np.linalg.eigvalsh(covariance).min() > -1e-10
    for name in ("llama-3.1-8b", "qwen3-8b"):
        efficiency = calibration.efficiency(design(name))
        assert 0 < efficiency.mbu <= 1
        assert 0 < efficiency.mfu <= 1
        assert np.trace(efficiency.covariance) <= np.trace(PRIOR.covariance) + 1e-9
    assert set(keys_of(design())) & set(calibration.keys) or not any(on == "h100" for _, on, _, _ in sequence)
