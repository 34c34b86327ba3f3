import math
import statistics

import pytest
from streams import Request, stream

import reckoner
from reckoner.calibrate.adaptive import AdaptiveCalibrator, CostPrediction
from reckoner.calibrate.load import Load
from reckoner.calibrate.model import ModelCalibration
from reckoner.errors import InputError

LOCAL, CLOUD = "timmy:v0.1-q4", "llama3-8b-8192"


@pytest.fixture
def calibrator(tmp_path):
    return AdaptiveCalibrator(tmp_path / "state.json", autosave=False)


def replay(calibrator: AdaptiveCalibrator, requests: list[Request], model: str = LOCAL) -> list[tuple[float, bool]]:
    """Relative errors and hits of the interval, predicting each request before learning it."""
    seen = []
    for request in requests:
        made = calibrator.predict(model, request.prompt, request.completion)
        seen.append(
            (
                abs(made.predicted_ms - request.actual_ms) / request.actual_ms,
                made.low_ms <= request.actual_ms <= made.high_ms,
            )
        )
        calibrator.record(model, request.prompt, request.actual_ms, request.completion)
    return seen


def mape(seen: list[tuple[float, bool]]) -> float:
    return statistics.fmean(error for error, _ in seen)


def coverage(seen: list[tuple[float, bool]]) -> float:
    return statistics.fmean(hit for _, hit in seen)


def test_the_usage_of_version_1_runs_unchanged(tmp_path, monkeypatch):
    monkeypatch.setattr("reckoner.calibrate.adaptive.DEFAULT_STATE_PATH", tmp_path / "calibrator_state.json")
    AdaptiveCalibrator = reckoner.AdaptiveCalibrator

    calibrator = AdaptiveCalibrator()

    # Before a call: get predicted cost
    prediction = calibrator.predict("timmy:v0.1-q4", prompt_tokens=512)

    # After a call: record what actually happened
    calibrator.record(
        model="timmy:v0.1-q4",
        prompt_tokens=512,
        completion_tokens=128,
        actual_ms=3400,
    )

    # Get model stats
    stats = calibrator.get_stats("timmy:v0.1-q4")

    assert prediction.predicted_ms == pytest.approx(300 + 0.5 * 512)
    assert (prediction.confidence, prediction.sample_count) == (0.0, 0)
    assert (stats["sample_count"], stats["status"]) == (1, "warming up")
    assert (tmp_path / "calibrator_state.json").exists()


@pytest.mark.parametrize(
    ("model", "expected"), [(LOCAL, 300 + 0.5 * 1000 + 8.0 * 100), (CLOUD, 150 + 0.05 * 1000 + 0.3 * 100)]
)
def test_a_model_never_seen_is_forecast_from_its_familys_prior(calibrator, model, expected):
    made = calibrator.predict(model, 1000, 100)
    assert made.predicted_ms == pytest.approx(expected)
    assert made.low_ms < made.predicted_ms < made.high_ms
    assert calibrator.get_stats(model) == {
        "model": model, "sample_count": 0, "confidence": 0.0, "status": "uncalibrated (prior only)",
    }  # fmt: skip


def test_a_provider_given_overrides_the_name(tmp_path):
    at_home = AdaptiveCalibrator(tmp_path / "a.json", autosave=False, provider="local")
    assert at_home.predict(CLOUD, 0).predicted_ms == pytest.approx(300)
    by_model = AdaptiveCalibrator(tmp_path / "b.json", autosave=False, provider={LOCAL: "cloud"})
    assert by_model.predict(LOCAL, 0).predicted_ms == pytest.approx(150)
    assert by_model.predict("gemma:7b", 0).predicted_ms == pytest.approx(300)
    with pytest.raises(InputError, match="provider is 'groq'"):
        AdaptiveCalibrator(tmp_path / "c.json", autosave=False, provider="groq").predict(LOCAL, 0)


def test_the_repr_names_what_was_asked_and_foretold(calibrator):
    made = calibrator.predict(LOCAL, 512)
    assert isinstance(made, CostPrediction)
    assert repr(made).startswith(f"CostPrediction(model='{LOCAL}', prompt_tokens=512, predicted_ms=556")


def test_both_token_prices_are_learned_where_version_1_froze_their_difference(calibrator):
    for request in stream(600):
        calibrator.record(LOCAL, request.prompt, request.actual_ms, request.completion)
    stats = calibrator.get_stats(LOCAL)
    assert stats["ms_per_completion_token"] == pytest.approx(14.0, rel=0.03)
    assert stats["ms_per_prompt_token"] == pytest.approx(0.12, rel=0.05)
    assert stats["base_overhead_ms"] == pytest.approx(400.0, rel=0.1)
    assert stats["status"] == "calibrated"


def test_noisy_requests_are_forecast_almost_as_well_as_by_the_law_itself(calibrator):
    seen = replay(calibrator, stream(2000))
    oracle = statistics.fmean(abs(r.law_ms - r.actual_ms) / r.actual_ms for r in stream(2000)[100:])
    assert mape(seen[100:]) < 1.12 * oracle
    assert mape(seen[10:50]) < 2.5 * oracle


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.5])
def test_ninety_percent_intervals_hold_ninety_percent(calibrator, noise):
    assert coverage(replay(calibrator, stream(2000, noise=noise))[200:]) == pytest.approx(0.9, abs=0.02)


def test_wider_levels_hold_more(calibrator):
    hits = {0.5: 0, 0.8: 0, 0.95: 0}
    requests = stream(1500, noise=0.2)
    for request in requests:
        for level in hits:
            made = calibrator.predict(LOCAL, request.prompt, request.completion, level=level, in_flight=0)
            hits[level] += made.low_ms <= request.actual_ms <= made.high_ms
        calibrator.record(LOCAL, request.prompt, request.actual_ms, request.completion)
    for level, count in hits.items():
        assert count / len(requests) == pytest.approx(level, abs=0.04)


@pytest.mark.parametrize("seed", range(4))
def test_a_doubling_is_learned_within_tens_of_records_and_told_as_an_event(calibrator, seed):
    requests = stream(400, seed=seed, double_at=200)
    seen = replay(calibrator, requests)
    assert mape(seen[225:]) < 0.07
    events = [event for event in calibrator.drifts(LOCAL) if event.sample_count > 100]
    assert len(events) == 1
    assert 200 < events[0].sample_count <= 210
    assert events[0].ratio == pytest.approx(2.0, rel=0.3)


def test_a_stable_stream_tells_of_no_drift(calibrator):
    replay(calibrator, stream(1500, noise=0.1))
    assert [event for event in calibrator.drifts(LOCAL) if event.sample_count > 30] == []


def test_timeouts_of_twenty_times_the_usual_cost_little(calibrator, tmp_path):
    clean = mape(replay(AdaptiveCalibrator(tmp_path / "clean.json", autosave=False), stream(1000))[50:])
    requests = stream(1000, outliers=0.05)
    seen = replay(calibrator, requests)
    usual = [s for s, r in zip(seen, requests, strict=True) if r.actual_ms < 5 * r.law_ms][50:]
    assert mape(usual) < clean + 0.02


def test_one_timeout_moves_the_next_forecast_by_little(calibrator):
    for _ in range(50):
        calibrator.record(LOCAL, 512, 3400.0, 128)
    before = calibrator.predict(LOCAL, 512, 128, in_flight=0).predicted_ms
    calibrator.record(LOCAL, 512, 600_000.0, 128)
    assert calibrator.predict(LOCAL, 512, 128, in_flight=0).predicted_ms == pytest.approx(before, rel=0.02)


def test_the_error_returned_is_actual_minus_predicted(calibrator):
    assert calibrator.record(LOCAL, 512, 1000.0) == pytest.approx(1000.0 - 556.0)
    assert calibrator.get_stats(LOCAL)["mean_absolute_error_ms"] == pytest.approx(444.0)


def test_confidence_counts_as_it_did(calibrator):
    for n in range(1, 31):
        calibrator.record(LOCAL, 100, 500.0, 10)
        assert calibrator.predict(LOCAL, 100).confidence == pytest.approx(1 - math.exp(-n / 10))


def test_models_do_not_touch_each_other(calibrator):
    untouched = calibrator.predict("other:1b", 100, 10).predicted_ms
    replay(calibrator, stream(100))
    assert calibrator.predict("other:1b", 100, 10).predicted_ms == untouched
    assert [stats["model"] for stats in calibrator.all_stats()] == [LOCAL]


def test_reset_forgets_one_model_or_all(calibrator):
    for model in ("a", "b", "c"):
        calibrator.record(model, 10, 100.0)
    calibrator.reset("b")
    assert [stats["model"] for stats in calibrator.all_stats()] == ["a", "c"]
    assert calibrator.get_stats("b")["status"] == "uncalibrated (prior only)"
    calibrator.reset()
    assert calibrator.all_stats() == []


def test_requests_of_no_tokens_and_of_no_time_are_learned_without_harm(calibrator):
    calibrator.record(LOCAL, 0, 250.0, 0)
    calibrator.record(LOCAL, 0, 0, 0)
    assert 0 < calibrator.predict(LOCAL, 0, 0).predicted_ms < 1000
    assert calibrator.get_stats(LOCAL)["sample_count"] == 2


def test_an_unknown_length_is_forecast_from_the_usual_one_and_scored_apart(calibrator):
    for request in stream(300):
        calibrator.record(LOCAL, 1000, 400 + 0.12 * 1000 + 14 * request.completion, request.completion)
    usual = calibrator.get_stats(LOCAL)["usual_completion_tokens"]
    made = calibrator.predict(LOCAL, 1000, None, in_flight=0)
    known = calibrator.predict(LOCAL, 1000, round(usual), in_flight=0)
    assert known.high_ms / known.low_ms < 1.5
    assert made.predicted_ms == pytest.approx(known.predicted_ms, rel=0.1)
    hits = 0
    for request in (later := stream(400, seed=1)):
        actual = 400 + 0.12 * 1000 + 14 * request.completion
        made = calibrator.predict(LOCAL, 1000, None)
        hits += made.low_ms <= actual <= made.high_ms
        calibrator.record(LOCAL, 1000, actual, request.completion)
    stats = calibrator.get_stats(LOCAL)
    assert stats["unknown_length_count"] == len(later)
    assert stats["unknown_length_mape"] > 0.3
    assert hits / len(later) == pytest.approx(0.9, abs=0.05)
    after = calibrator.predict(LOCAL, 1000, 200)
    assert after.high_ms / after.low_ms < 1.5


def test_the_interval_of_an_unknown_length_knows_the_load(calibrator):
    requests = stream(600, noise=0.02)
    for i, request in enumerate(requests):
        crowd = 20 * (i % 2)
        calibrator.predict(LOCAL, 1000, None, in_flight=crowd)
        actual = 2000.0 if not crowd else 2000.0 * (1 + (i % 40) / 4)
        calibrator.record(LOCAL, 1000, actual * request.actual_ms / request.law_ms, 100, in_flight=crowd)
    alone, crowded = (calibrator.predict(LOCAL, 1000, None, in_flight=n) for n in (0, 20))
    assert crowded.high_ms / crowded.low_ms > 2 * alone.high_ms / alone.low_ms


def test_a_length_that_stays_unknown_teaches_the_level(calibrator):
    for _ in range(60):
        calibrator.record(LOCAL, 1000, 9000.0, None)
    assert calibrator.predict(LOCAL, 1000, None).predicted_ms == pytest.approx(9000.0, rel=0.05)


def test_totals_are_not_biased_like_the_point_forecast(calibrator):
    requests = stream(3000, noise=0.6)
    replay(calibrator, requests)
    later = stream(3000, noise=0.6, seed=7)
    asked = [(r.prompt, r.completion) for r in later]
    truth = sum(r.actual_ms for r in later)
    points = sum(calibrator.predict(LOCAL, p, c, in_flight=0).predicted_ms for p, c in asked)
    assert points < 0.9 * truth
    assert calibrator.total(LOCAL, asked) == pytest.approx(truth, rel=0.08)


def queueing(calibrator: AdaptiveCalibrator, service_ms: float, gaps_ms: list[float]) -> list[tuple[float, bool]]:
    """One server, first come first served; outcomes are recorded when they happen."""
    now, free, under_way, seen = 0.0, 0.0, [], []
    for gap in gaps_ms:
        now += gap
        while under_way and under_way[0][0] <= now:
            _, actual = under_way.pop(0)
            calibrator.record(LOCAL, 1000, actual, 100)
        made = calibrator.predict(LOCAL, 1000, 100)
        free = max(free, now) + service_ms
        actual = free - now
        seen.append((abs(made.predicted_ms - actual) / actual, made.low_ms <= actual <= made.high_ms))
        under_way.append((free, actual))
    return seen


def test_requests_in_flight_are_counted_and_foretell_the_queue(calibrator):
    bursts = ([3000.0] * 20 + [100.0] * 30 + [60000.0]) * 8
    seen = queueing(calibrator, 1000.0, bursts)
    assert mape(seen[len(seen) // 2 :]) < 0.12
    assert coverage(seen) > 0.85
    assert 500 < calibrator.get_stats(LOCAL)["ms_per_request_in_flight"] < 1100


def test_requests_overdue_together_raise_the_next_forecast(calibrator):
    calm = calibrator.predict(LOCAL, 1000, 100, at=0.0)
    for i in range(1, 6):
        calibrator.predict(LOCAL, 1000, 100, at=float(i))
    soon = calibrator.predict(LOCAL, 1000, 100, at=6.0)
    assert soon.predicted_ms == pytest.approx(calm.predicted_ms)
    late = calibrator.predict(LOCAL, 1000, 100, at=300.0)
    assert late.predicted_ms == pytest.approx(298_000, rel=0.05)


def test_overdue_requests_widen_an_experienced_forecast_upwards_only(calibrator):
    for _ in range(200):
        calibrator.record(LOCAL, 1000, 1000.0, 100, at=0.0)
    for i in range(6):
        before = calibrator.predict(LOCAL, 1000, 100, at=i / 10)
    after = calibrator.predict(LOCAL, 1000, 100, at=60.0)
    assert after.predicted_ms == pytest.approx(before.predicted_ms, rel=0.01)
    assert after.high_ms > 30_000 > before.high_ms


def test_a_request_that_was_overtaken_is_no_evidence(calibrator):
    for _ in range(200):
        calibrator.record(LOCAL, 1000, 1000.0, 100, at=0.0)
    for _ in range(5):
        calibrator.predict(LOCAL, 2000, 100, at=0.0)  # never recorded
    for i in range(10):
        calibrator.predict(LOCAL, 1000, 100, at=float(i))
        calibrator.record(LOCAL, 1000, 1000.0, 100, at=i + 0.9)
    assert calibrator.predict(LOCAL, 1000, 100, at=500.0).high_ms < 5000


def test_in_flight_given_is_taken_at_its_word(calibrator):
    for i in range(400):
        load = i % 20
        calibrator.record(LOCAL, 1000, 1000.0 * (load + 1), 100, in_flight=load)
    assert calibrator.predict(LOCAL, 1000, 100, in_flight=9).predicted_ms == pytest.approx(10_000, rel=0.1)
    assert calibrator.predict(LOCAL, 1000, 100, in_flight=9).in_flight == 9


def test_what_the_engine_says_of_itself_is_learned_from(tmp_path, calibrator):
    told, untold = [], []
    blind = AdaptiveCalibrator(tmp_path / "blind.json", autosave=False)
    for i, request in enumerate(stream(1500, noise=0.05)):
        load = Load(waiting=i * 7 % 20, running=i * 5 % 16, kv_use=i * 3 % 11 / 11)
        actual = request.actual_ms * math.exp(1.2 * load.kv_use) * (1 + load.waiting) ** 0.3
        for one, extra, errors in ((calibrator, {"load": load}, told), (blind, {}, untold)):
            made = one.predict(LOCAL, request.prompt, request.completion, **extra)
            one.record(LOCAL, request.prompt, actual, request.completion)
            errors.append(abs(made.predicted_ms - actual) / actual)
    assert statistics.fmean(told[300:]) < 0.4 * statistics.fmean(untold[300:])


@pytest.mark.parametrize("load", [Load(waiting=-1), Load(running=math.nan), Load(kv_use=1.5), Load(kv_use=True)])
def test_a_load_that_cannot_be_is_refused_by_its_field(calibrator, load):
    with pytest.raises(InputError, match=r"^(waiting|running|kv_use) is"):
        calibrator.predict(LOCAL, 1, load=load)
    with pytest.raises(InputError, match=r"^(waiting|running|kv_use) is"):
        calibrator.record(LOCAL, 1, 1.0, load=load)
    assert calibrator.all_stats() == []


def test_whoever_asks_and_never_records_is_no_longer_counted(calibrator):
    for _ in range(1500):
        made = calibrator.predict(LOCAL, 100, 10)
    assert made.in_flight == 0


def test_an_explicit_load_leaves_no_forecast_waiting(calibrator):
    for _ in range(5):
        calibrator.predict(LOCAL, 100, 10, in_flight=3)
    assert calibrator.predict(LOCAL, 100, 10).in_flight == 0
    assert calibrator.predict(LOCAL, 100, 10).in_flight == 1


def test_two_calibrators_merged_forecast_like_one_that_saw_all(tmp_path):
    first, second, whole = (AdaptiveCalibrator(tmp_path / f"{n}.json", autosave=False) for n in range(3))
    for i, request in enumerate(stream(600)):
        for one in ((first, second)[i % 2], whole):
            one.record(LOCAL, request.prompt, request.actual_ms, request.completion)
    second.record("only:there", 10, 400.0)
    first.merge(second)
    assert first.get_stats(LOCAL)["sample_count"] == 600
    assert first.get_stats("only:there")["sample_count"] == 1
    for prompt, completion in ((100, 20), (2000, 200), (8000, 900)):
        merged, one = (c.predict(LOCAL, prompt, completion, in_flight=0) for c in (first, whole))
        assert merged.predicted_ms == pytest.approx(one.predicted_ms, rel=0.03)
        assert merged.low_ms < 400 + 0.12 * prompt + 14 * completion < merged.high_ms


def test_merging_refuses_its_own_state_another_provider_and_a_missing_file(tmp_path):
    calibrator = AdaptiveCalibrator(tmp_path / "a.json", autosave=False)
    calibrator.record(LOCAL, 1, 100.0)
    with pytest.raises(InputError, match="own state"):
        calibrator.merge(calibrator)
    with pytest.raises(InputError, match="no file"):
        calibrator.merge(tmp_path / "none.json")
    other = AdaptiveCalibrator(tmp_path / "b.json", autosave=False, provider="cloud")
    other.record(LOCAL, 1, 100.0)
    with pytest.raises(InputError, match="local here and cloud there"):
        calibrator.merge(other)


def test_a_calibration_is_the_same_after_a_trip_through_plain_values():
    calibration = ModelCalibration(LOCAL)
    for request in stream(120):
        calibration.update(request.prompt, request.completion, request.actual_ms)
    copy = ModelCalibration.from_dict(calibration.to_dict())
    assert copy.to_dict() == calibration.to_dict()
    for request in stream(20, seed=3):
        assert copy.update(request.prompt, request.completion, request.actual_ms) == calibration.update(
            request.prompt, request.completion, request.actual_ms
        )
