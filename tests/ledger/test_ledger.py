import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.errors import InputError, UnknownNameError
from reckoner.ledger import Figure, Ledger, PredictionEntry, Tally, request
from reckoner.ledger.entries import canonical, chain_hash, restore
from reckoner.ledger.verify import verify


def test_three_predictors_of_one_run_are_scored_by_one_outcome(ledger):
    ledger.predict("run", "physics", {"e2e_s": 3.0})
    ledger.predict("run", "calibrator", {"e2e_s": Figure(value=3.6, low=3.0, high=4.0)})
    ledger.predict("run", "ann", {"e2e_s": Figure(value=5.0, low=4.5, high=6.0)})
    ledger.observe("run", {"e2e_s": 4.0, "ttft_s": 0.2}, inputs={"model": "llama-3.1-8b"})

    ann, calibrator, physics = ledger.score()

    assert [ann.predictor, calibrator.predictor, physics.predictor] == ["ann", "calibrator", "physics"]
    assert (ann.mean_ape, ann.bias, ann.coverage) == (0.25, 0.25, 0.0)
    assert (calibrator.mean_ape, calibrator.coverage) == (pytest.approx(0.1), 1.0)
    assert calibrator.width == pytest.approx(0.25)
    assert (physics.bias, physics.coverage, physics.width) == (-0.25, None, None)


def test_what_is_said_after_the_outcome_is_no_prediction(ledger):
    ledger.observe("run", {"e2e_s": 4.0})
    ledger.predict("run", "prophet", {"e2e_s": 4.0})

    assert ledger.score() == ()
    assert ledger.waiting() == 1


def test_an_outcome_meets_the_last_word_before_it(ledger):
    ledger.predict("run", "ann", {"e2e_s": 1.0})
    second = ledger.predict("run", "ann", {"e2e_s": 2.0})
    outcome = ledger.observe("run", {"e2e_s": 4.0})
    ledger.predict("run", "ann", {"e2e_s": 4.0})

    (pair,) = ledger.pairs()

    assert (pair.prediction, pair.observation, pair.predicted.value) == (second, outcome, 2.0)


def test_each_repeated_outcome_is_a_pair_of_its_own(ledger):
    ledger.predict("run", "ann", {"e2e_s": 2.0})
    for seconds in (1.0, 2.0, 4.0):
        ledger.observe("run", {"e2e_s": seconds})

    assert [pair.observed for pair in ledger.pairs()] == [1.0, 2.0, 4.0]


def test_an_entry_is_the_hash_of_the_one_before_and_its_canonical_json(ledger):
    ledger.predict("a", "ann", {"e2e_s": 1})
    ledger.observe("a", {"e2e_s": 2})
    first, second = ledger.entries()

    assert first.prev == "0" * 64
    assert second.prev == first.id.hash
    assert second.id.hash == chain_hash(first.id.hash, canonical(second.body))
    assert second.entry.figures == {"e2e_s": 2.0}


def test_a_ledger_opened_again_goes_on_with_the_same_chain(open_ledger):
    first = open_ledger()
    first.observe("a", {"e2e_s": 1})
    first.close()
    second = open_ledger()
    second.observe("b", {"e2e_s": 1})

    assert len(second) == 2
    assert verify(second).ok


def test_a_batch_is_kept_whole_or_not_at_all(ledger):
    def entries():
        yield request("a", model="m", prompt_tokens=1, e2e_s=1)
        yield request("b", model="m", prompt_tokens=-1, e2e_s=1)

    with pytest.raises(InputError, match="prompt_tokens is -1"):
        ledger.record_many(entries())
    assert len(ledger) == 0


def test_a_clock_that_goes_backwards_changes_no_order(tmp_path):
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    times = iter([now, now - timedelta(hours=3), now - timedelta(days=400)])
    with Ledger.open(tmp_path / "l.db", clock=lambda: next(times)) as ledger:
        ledger.predict("run", "ann", {"e2e_s": 1.0})
        ledger.observe("run", {"e2e_s": 2.0})
        ledger.predict("run", "ann", {"e2e_s": 2.0})

        assert [pair.predicted.value for pair in ledger.pairs()] == [1.0]
        assert [kept.id.seq for kept in ledger.entries()] == [1, 2, 3]
        assert verify(ledger).ok


def test_an_entry_is_found_by_number_id_and_hash(ledger):
    made = ledger.observe("a", {"e2e_s": 1})

    assert ledger.find("1").id == ledger.find(str(made)).id == ledger.find(made.hash[:8]).id == made
    with pytest.raises(UnknownNameError, match="no entry named '9'"):
        ledger.find("9")
    with pytest.raises(UnknownNameError):
        ledger.find("1-000000")


def test_a_decision_rests_on_entries_that_exist(ledger):
    ground = ledger.predict("run", "physics", {"usd_per_hour": 2.0})
    ledger.decide("fleet", "two h100", because="cheapest that fits", based_on=[ground])

    (kept,) = ledger.entries(kind="decision")
    assert kept.body["based_on"] == [str(ground)]
    with pytest.raises(UnknownNameError):
        ledger.decide("fleet", "three", based_on=["77"])


def test_scores_of_a_tally_equal_those_of_committed_pairs(ledger):
    rng = np.random.default_rng(7)
    y, f = rng.lognormal(0, 0.5, 200), rng.lognormal(0, 0.5, 200)
    tally = Tally()
    for i in range(200):
        tally.add("hot", "m", predicted=f[i], observed=y[i], low=f[i] / 2, high=f[i] * 2, hour="2026-11-20T14")
    ledger.tally(tally)
    ledger.record_many(
        PredictionEntry(
            subject=f"r{i}",
            predictor="slow",
            figures={"e2e_s": Figure(value=float(f[i]), low=float(f[i] / 2), high=float(f[i] * 2))},
        )
        for i in range(200)
    )
    ledger.record_many(request(f"r{i}", model="m", prompt_tokens=1, e2e_s=float(y[i])) for i in range(200))

    hot, slow = ledger.score()

    assert hot.n == slow.n == 200
    for part in ("median_ape", "mean_ape", "p90_ape", "bias", "coverage", "width"):
        assert getattr(hot, part) == pytest.approx(getattr(slow, part), rel=1e-12)
    ape = np.abs(f - y) / y
    assert slow.mean_ape == pytest.approx(ape.mean())
    assert slow.median_ape == pytest.approx(np.quantile(ape, 0.5, method="inverted_cdf"), rel=0.01)
    assert slow.p90_ape == pytest.approx(np.quantile(ape, 0.9, method="inverted_cdf"), rel=0.01)
    assert slow.coverage == np.mean((f / 2 <= y) & (y <= f * 2))


def test_an_outcome_of_zero_is_skipped_and_counted(ledger):
    ledger.predict("run", "ann", {"e2e_s": 1.0})
    ledger.observe("run", {"e2e_s": 0})

    (score,) = ledger.score()
    assert (score.n, score.skipped, score.mean_ape) == (0, 1, None)


def test_a_snapshot_never_goes_back(ledger):
    assert ledger.snapshot("calibrator") is None
    tally = Tally()
    tally.add("calibrator", "m", predicted=1.0, observed=2.0, hour="2026-11-20T14")
    assert ledger.save_snapshot("calibrator", 5, {"theta": [1.0]}, tally=tally)
    assert not ledger.save_snapshot("calibrator", 5, {"theta": [0.0]}, tally=tally)
    assert not ledger.save_snapshot("calibrator", 3, {"theta": [0.0]}, tally=tally)

    assert ledger.snapshot("calibrator") == (5, {"theta": [1.0]})
    assert [score.n for score in ledger.score()] == [1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1.0, True, "3", None, 1e300])
def test_a_figure_that_is_no_quantity_is_refused_and_nothing_kept(tmp_path, bad):
    with Ledger.open(tmp_path / "l.db") as ledger:
        with pytest.raises(InputError, match="e2e_s"):
            ledger.observe("run", {"e2e_s": bad})
        with pytest.raises(InputError, match=r"e2e_s|value"):
            ledger.predict("run", "ann", {"e2e_s": bad})
        with pytest.raises(InputError, match="e2e_s"):
            request("run", model="m", prompt_tokens=1, e2e_s=bad)
        assert len(ledger) == 0


@pytest.mark.parametrize("bad", [-1, True, 1.5, 10**12, None, "7"])
def test_a_token_count_that_is_none_is_refused(bad):
    with pytest.raises(InputError, match="prompt_tokens is"):
        request("run", model="m", prompt_tokens=bad, e2e_s=1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": "two\nlines"}, "subject"),
        ({"subject": "nul\0"}, "subject"),
        ({"predictor": "x" * 600}, "predictor"),
        ({"figures": {}}, "figures"),
        ({"figures": {"E2E": 1.0}}, "metric"),
        ({"figures": {"e2e_s": 1.0}, "level": 1.0}, "level"),
        ({"inputs": {"x": math.nan}}, "inputs.x"),
        ({"inputs": {"x": [object()]}}, r"inputs.x\[0\]"),
        ({"inputs": {1: 2}}, "keys are texts"),
    ],
)
def test_a_prediction_that_cannot_be_kept_unchanged_is_refused(change, message):
    fine = {"subject": "run", "predictor": "ann", "figures": {"e2e_s": 1.0}}
    with pytest.raises(InputError, match=message):
        PredictionEntry(**{**fine, **change})


def test_an_interval_has_two_ends_in_order():
    with pytest.raises(InputError, match="both ends"):
        Figure(value=1.0, low=0.5)
    with pytest.raises(InputError, match="swap"):
        Figure(value=1.0, low=2.0, high=1.0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20).filter(str.isprintable)


@given(
    names,
    names,
    st.floats(0, 1e17),
    st.floats(0.01, 0.99),
    st.dictionaries(st.text(max_size=8), json_values, max_size=3),
)
def test_every_prediction_comes_back_as_it_was(subject, predictor, value, level, inputs):
    entry = PredictionEntry(
        subject=subject,
        predictor=predictor,
        figures={"e2e_s": Figure(value=value, low=value / 2, high=value * 2)},
        level=level,
        inputs=inputs,
    )
    import json

    assert restore(json.loads(canonical(entry.content()))) == entry
