import json
import math

import pytest
import worlds

from reckoner.errors import DamagedError, InputError, MixedSetsError, UnknownNameError
from reckoner.finops.inputs import freeze_inputs, load_inputs, parse_inputs


def test_a_whole_file_is_read_with_its_versions_in_order(tmp_path):
    inputs = freeze_inputs(tmp_path / "cost_inputs.json", worlds.usual())
    assert [model.semver for model in inputs.models] == ["v0.1.0", "v0.2.0", "v0.3.0"]
    assert inputs.request_tokens == (12.0, 8.0)
    assert inputs.sha256 == parse_inputs(worlds.usual()).sha256
    assert load_inputs(tmp_path / "cost_inputs.json") == inputs


def changed(path, value):
    """The usual world with one field set; ``...`` deletes it."""
    content = worlds.usual()
    *way, last = path
    place = content
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return content


M = ("models", worlds.INT8)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("rate", "usd_per_hour"), 0, r"\$\.rate: usd_per_hour is 0(\.0)?; give the rate"),
        (("rate", "usd_per_hour"), -0.05, r"\$\.rate: usd_per_hour is -0.05"),
        (("rate", "usd_per_hour"), math.nan, r"\$\.rate: usd_per_hour is nan"),
        (("rate", "usd_per_hour"), "0.05", r"\$\.rate\.usd_per_hour: expected `float`, got `str`"),
        (("rate", "source"), " ", r"\$\.rate: source is empty"),
        (("rate",), ..., "missing required field `rate`"),
        (("schema",), 2, "schema is 2, this version reads 1"),
        (("models",), {}, "models is empty"),
        (("models", "v0.4.0"), {}, "key 'v0.4.0'.*64 hex digits"),
        ((*M, "throughput"), ..., r"\$\.models\.e5f6a7b8\.throughput: missing for v0.2.0; run the throughput test"),
        ((*M, "throughput"), None, r"\$\.models\.e5f6a7b8\.throughput: missing for v0.2.0"),
        ((*M, "throughput", "tokens_per_s"), ..., r"models\.e5f6a7b8\.throughput: .*missing required field"),
        ((*M, "throughput", "tokens_per_s", "median"), 0.0, "tokens_per_s: median is 0.0; a speed"),
        ((*M, "throughput", "tokens_per_s", "n"), 0, "n is 0; a median"),
        ((*M, "throughput", "tokens_per_s", "low"), None, "one of low and high is missing"),
        ((*M, "throughput", "tokens_per_s", "low"), 9e9, "does not hold the median"),
        ((*M, "throughput", "tokens_per_s", "coverage"), 1.5, "coverage is 1.5; it is the share"),
        ((*M, "throughput", "batch"), 0, "batch is 0; give the number"),
        ((*M, "throughput", "utilisation"), -1.0, "utilisation is -1.0; give the busy share"),
        ((*M, "throughput", "repeats", 0, "requests"), -1, "requests is -1; a repeat counts at least 1"),
        ((*M, "throughput", "repeats", 0, "new_tokens"), 0, "new_tokens is 0; a repeat counts at least 1"),
        ((*M, "eval_report", "engine"), None, r"eval_report: .*engine is None; it must be text"),
        ((*M, "semver"), ..., r"models\.e5f6a7b8: .*missing required field `semver`"),
        ((*M, "eval_report"), ..., "missing required field `eval_report`"),
        ((*M, "eval_report"), {}, r"models\.e5f6a7b8\.eval_report: the evaluation report cannot be read"),
        ((*M, "eval_report", "model_digest"), worlds.FP32, "model_digest: a1b2c3d4 was graded, not e5f6a7b8"),
        (("usd_per_error",), -1.0, "usd_per_error is -1.0"),
        (("choice_options",), 1, "choice_options is 1"),
    ],
)
def test_a_bad_field_is_refused_with_its_path_and_nothing_is_written(path, value, says, tmp_path):
    target = tmp_path / "cost_inputs.json"
    with pytest.raises(InputError, match=says):
        freeze_inputs(target, changed(path, value))
    assert list(tmp_path.iterdir()) == []


def test_versions_graded_on_other_sets_are_refused_and_each_is_named():
    content = worlds.usual()
    for digest in (worlds.INT8, worlds.LORA):
        content["models"][digest]["eval_report"]["eval_set_hash"] = "cd" * 32
    with pytest.raises(
        MixedSetsError, match=r"v0.2.0 \(e5f6a7b8\) on cdcdcdcd, v0.3.0 \(c9d0e1f2\) on cdcdcdcd"
    ) as told:
        parse_inputs(content)
    assert "v0.1.0" not in str(told.value)


def test_a_verdict_that_was_changed_by_hand_is_refused():
    content = worlds.usual()
    outcome = content["models"][worlds.FP32]["eval_report"]["outcomes"][3]
    outcome["correct"] = not outcome["correct"]
    with pytest.raises(InputError, match=r"models\.a1b2c3d4\.eval_report: .*grade the version again"):
        parse_inputs(content)


def test_a_missing_truncated_or_nan_file_is_refused_by_name(tmp_path):
    path = tmp_path / "cost_inputs.json"
    with pytest.raises(InputError, match=r"no file .*cost_inputs\.json"):
        load_inputs(path)
    text = json.dumps(worlds.usual())
    path.write_text(text[: len(text) // 2])
    with pytest.raises(DamagedError, match=r"cost_inputs.json, line 1"):
        load_inputs(path)
    path.write_text(text.replace('"usd_per_hour": 0.05', '"usd_per_hour": NaN'))
    with pytest.raises(DamagedError, match="NaN is not a JSON number"):
        load_inputs(path)
    path.write_text(text.replace('"usd_per_hour": 0.05', '"usd_per_hour": 1e999'))
    with pytest.raises(InputError, match="usd_per_hour is inf"):
        load_inputs(path)


def test_a_version_is_found_by_name_or_digits_and_an_unknown_one_gets_near_misses():
    inputs = parse_inputs(worlds.usual())
    assert inputs.model("v0.2.0") == inputs.model("e5f6a7b8") == inputs.model(worlds.INT8)
    with pytest.raises(UnknownNameError, match=r"no version named 'v0\.2\.9'\. Did you mean"):
        inputs.model("v0.2.9")
    with pytest.raises(UnknownNameError):
        inputs.model("e5")  # too short to be sure
