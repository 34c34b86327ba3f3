import json

import pytest
from graded_by_hand import make_outcome, make_report

from reckoner.errors import DamagedError, InputError, MixedSetsError
from reckoner.evaluate import Report, Sampling, check_same_set, paired_difference, paired_p_value, wilson
from reckoner.files import canonical_json


@pytest.fixture
def report():
    outcomes = (
        make_outcome("a", True, person="1sg", choice="went", confidence=0.8, brier=0.06, sampled_correct=1),
        make_outcome("b", False, person="2sg", choice="goed", confidence=0.6, brier=0.92),
        make_outcome("c", True, language="es", verb="comer", split="held_out", tense="future"),
        make_outcome("d", False, category="adversarial", person="1sg"),
        make_outcome("e", True, category="adversarial", person="1sg"),
    )
    return Report(
        eval_set_hash="e" * 64,
        model_digest="d" * 64,
        engine="fake",
        outcomes=outcomes,
        sampling=Sampling(probes=1, n=2, ks=(1, 2)),
    )


def test_conjugation_accuracy_is_over_core_probes_and_adversarial_ones_stand_apart(report):
    assert (report.accuracy.correct, report.accuracy.n) == (2, 3)
    assert (report.accuracy.low, report.accuracy.high) == wilson(2, 3)
    assert (report.adversarial.correct, report.adversarial.n) == (1, 2)
    assert (report.seen.n, report.held_out.n) == (2, 1)


def test_every_slice_but_category_adds_up_to_the_core_probes(report):
    assert set(report.slices) == {
        *("language", "tense", "person", "verb", "regularity", "split", "category", "tense_person"),
    }
    for name, values in report.slices.items():
        total = sum(value.n for value in values.values())
        assert total == (5 if name == "category" else 3)
    assert report.slices["tense_person"]["past_simple/2sg"].accuracy == 0
    assert set(report.slices["verb"]) == {"en:go", "es:comer"}


def test_calibration_is_over_the_choices_that_were_weighed(report):
    assert report.choice_accuracy.n == 2
    assert report.ece == pytest.approx((0.2 + 0.6) / 2)
    assert report.brier == pytest.approx(0.49)
    assert report.pass_at_k == {1: 0.5, 2: 1.0}


def test_a_report_reads_back_from_its_json(report):
    assert Report.from_json(json.loads(canonical_json(report.to_json()))) == report


def test_a_set_without_adversarial_probes_has_no_such_figure():
    report = make_report([True])
    assert report.adversarial is None
    assert report.to_json()["aggregates"]["adversarial"] is None
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (
            lambda v: v["aggregates"]["conjugation_accuracy"].update(accuracy=0.9),
            "conjugation_accuracy.accuracy does not",
        ),
        (lambda v: v["aggregates"]["slices"]["person"]["1sg"].update(correct=0), "slices.person.1sg.correct does not"),
        (lambda v: v["aggregates"]["slices"]["person"].pop("1sg"), "slices.person.1sg does not"),
        (lambda v: v["aggregates"].update(brier=None), "brier does not follow"),
        (lambda v: v["aggregates"]["pass_at_k"].update({"1": 0.6}), "pass_at_k.1 does not"),
        (lambda v: v["outcomes"][1].update(correct=True), "b is marked correct = True"),
        (lambda v: v["outcomes"][1].update(answer="went"), "b is marked correct = False"),
        (lambda v: v["outcomes"][1].pop("id"), "cannot be read: .*id"),
        (lambda v: v["outcomes"].reverse(), "sorted by id"),
        (lambda v: v.pop("engine"), "cannot be read: 'engine'"),
        (lambda v: v["sampling"].update(n=0), "cannot be read"),
        (lambda v: v["sampling"].update(n=8.0), "n = 8.0; it must be an integer"),
        (lambda v: v["sampling"].update(ks=[True]), "ks = .True.; each must be an integer"),
        (lambda v: v["sampling"].update(temperature="1"), "temperature is '1'; it must be a number"),
        (lambda v: v.update(format=2), "format is 2, this version reads 1"),
        (lambda v: v.update(engine=None), "engine is None; it must be text"),
        (lambda v: v.update(eval_set_hash=5), "eval_set_hash is 5; it must be text"),
        (lambda v: v.update(model_digest=[]), r"model_digest is \[\]; it must be text"),
        (lambda v: v["outcomes"][1].update(category=None), "category is None; it must be text"),
        (lambda v: v["outcomes"][1].update(choice=5), "choice is 5; it must be text"),
        (lambda v: v["outcomes"][1].update(confidence="0.5"), "confidence is '0.5'; it lies between 0 and 1"),
        (lambda v: v["outcomes"][1].update(brier=3), "brier is 3; it lies between 0 and 2"),
        (lambda v: v["outcomes"][1].update(sampled_correct=1.5), "sampled_correct is 1.5; it is a count"),
    ],
)
def test_a_figure_that_does_not_follow_from_the_outcomes_is_named(report, damage, match):
    value = json.loads(canonical_json(report.to_json()))
    damage(value)
    with pytest.raises(DamagedError, match=match):
        Report.from_json(value)


@pytest.mark.parametrize("value", [None, [], {}, {"outcomes": 3}])
def test_what_is_no_report_is_refused(value):
    with pytest.raises(DamagedError, match="cannot be read"):
        Report.from_json(value)


def test_mixed_sets_are_refused_by_name():
    reports = [make_report([True], digest="a" * 64), make_report([True], eval_set_hash="f" * 64, digest="b" * 64)]
    with pytest.raises(MixedSetsError, match=r"2 evaluation sets \(aaaaaaaa on fake: e{12}; bbbbbbbb on fake: f{12}\)"):
        check_same_set(reports)
    assert check_same_set(reports[:1]) == "e" * 64
    with pytest.raises(InputError, match="no evaluation reports"):
        check_same_set([])
    with pytest.raises(MixedSetsError):
        paired_difference(*reports, seed=0)


def test_a_paired_comparison_finds_what_two_wilson_intervals_hide():
    # b errs on 12 more of 200, and only on those: plain intervals overlap, the paired one excludes 0
    a, b = make_report([True] * 160 + [False] * 40), make_report([True] * 148 + [False] * 52)
    assert a.accuracy.low < b.accuracy.high
    difference, low, high = paired_difference(a, b, seed=0)
    assert difference == pytest.approx(0.06)
    assert 0 < low < 0.06 < high
    assert paired_p_value(a, b) == 2 / 2**12
    assert paired_difference(a, b, seed=0) == (difference, low, high)


def test_one_hash_over_different_probes_is_called_damage():
    with pytest.raises(DamagedError, match="hold different probes"):
        paired_difference(make_report([True]), make_report([True, True]), seed=0)


def test_outcomes_out_of_order_and_a_set_without_core_probes_are_refused():
    for outcomes, match in (
        ((make_outcome("b", True), make_outcome("a", True)), "sorted by id"),
        ((make_outcome("a", True, category="adversarial"),), "no core probe"),
    ):
        with pytest.raises(InputError, match=match):
            Report(eval_set_hash="e" * 64, model_digest="d" * 64, engine="fake", outcomes=outcomes)
