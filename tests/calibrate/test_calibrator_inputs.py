import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.calibrate.adaptive import AdaptiveCalibrator
from reckoner.errors import InputError

BAD = [math.nan, math.inf, -math.inf, -1, -0.5, True, False, 1e12, "512", None, [1], 10**400, 1 + 0j]
MODEL = "timmy:v0.1-q4"


@pytest.mark.parametrize("value", BAD, ids=repr)
@pytest.mark.parametrize("field", ["prompt_tokens", "actual_ms", "completion_tokens"])
def test_a_bad_record_is_refused_by_its_field_and_changes_nothing(tmp_path, field, value):
    if field == "completion_tokens" and value is None:
        return  # unknown, and allowed
    if field == "actual_ms" and value == 1e12:
        value = 1e15
    calibrator = AdaptiveCalibrator(tmp_path / "s.json")
    calibrator.record(MODEL, 512, 3400.0, 128)
    before, files = calibrator.get_stats(MODEL), {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    good = {"model": MODEL, "prompt_tokens": 512, "actual_ms": 3400.0, "completion_tokens": 128}
    with pytest.raises(ValueError, match=rf"^{field} is"):
        calibrator.record(**{**good, field: value})
    assert calibrator.get_stats(MODEL) == before
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files


@pytest.mark.parametrize("value", BAD, ids=repr)
def test_a_bad_question_is_refused_by_its_field(tmp_path, value):
    calibrator = AdaptiveCalibrator(tmp_path / "s.json")
    with pytest.raises(InputError, match=r"^prompt_tokens is"):
        calibrator.predict(MODEL, value)
    if value is not None:
        with pytest.raises(InputError, match=r"^completion_tokens is"):
            calibrator.predict(MODEL, 1, value)
        with pytest.raises(InputError, match=r"^in_flight is"):
            calibrator.predict(MODEL, 1, 1, in_flight=value)


@pytest.mark.parametrize("level", [0, 1, -0.1, 1.5, math.nan, True, "0.9"])
def test_a_level_outside_0_and_1_is_refused(tmp_path, level):
    with pytest.raises(InputError, match=r"^level is"):
        AdaptiveCalibrator(tmp_path / "s.json").predict(MODEL, 1, level=level)


@pytest.mark.parametrize("model", ["", None, 3, ["a"]])
def test_a_model_without_a_name_is_refused(tmp_path, model):
    calibrator = AdaptiveCalibrator(tmp_path / "s.json")
    for call in (
        lambda: calibrator.predict(model, 1),
        lambda: calibrator.record(model, 1, 1.0),
        lambda: calibrator.get_stats(model),
    ):
        with pytest.raises(InputError, match=r"^model is"):
            call()


good_tokens = st.integers(0, 10**8) | st.floats(0, 1e8)
good_ms = st.floats(0, 1e10) | st.integers(0, 10**10)
bad = st.sampled_from([v for v in BAD if v is not None]) | st.floats(max_value=-1e-9) | st.floats(min_value=1e11)
steps = st.lists(
    st.tuples(st.sampled_from("pr"), good_tokens | bad, st.none() | good_tokens | bad, good_ms | bad), max_size=40
)


@settings(deadline=None, max_examples=120)
@given(steps)
def test_no_sequence_of_good_and_bad_inputs_breaks_a_calibrator(tmp_path_factory, sequence):
    calibrator = AdaptiveCalibrator(tmp_path_factory.getbasetemp() / "unwritten.json", autosave=False)
    learned = refused = 0
    for kind, prompt, completion, actual in sequence:
        try:
            if kind == "p":
                made = calibrator.predict(MODEL, prompt, completion)
                assert 0 < made.low_ms <= made.predicted_ms <= made.high_ms < math.inf
            else:
                assert math.isfinite(calibrator.record(MODEL, prompt, actual, completion))
                learned += 1
        except InputError:
            refused += 1
    assert calibrator.get_stats(MODEL)["sample_count"] == learned
    assert refused <= len(sequence) - learned
    for value in calibrator._get_or_create(MODEL).coefficients():
        assert 0 <= value < math.inf
