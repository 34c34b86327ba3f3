import math

import pytest
from graded_by_hand import CharTokenizer, make_probe

from reckoner.engines.base import Generation
from reckoner.errors import EngineError, InputError
from reckoner.evaluate import Sampling, eval_set_hash, first_word, grade, subset
from reckoner.evaluate.probes import CHOICES

DIGEST = "d" * 64
TEXT = CharTokenizer()
ODDS = {"went": 0.6, "goed": 0.3, "gone": 0.1}


class Speaker:
    """Continues any text with ``words[text]``, greedily and only that."""

    name = "speaker"

    def __init__(self, words):
        self.words = words

    def generate(self, prompt_ids, *, max_new_tokens, stop_ids=()):
        assert prompt_ids[0] == 1, "the begin token stands first"
        assert TEXT.eos_id in stop_ids
        ids = tuple(ord(c) for c in self.words[TEXT.decode(prompt_ids)])[:max_new_tokens]
        return Generation(token_ids=ids, prompt_tokens=len(prompt_ids), prefill_s=None, decode_s=None, stopped=False)

    def close(self):
        pass


class Weigher(Speaker):
    """Also gives whole texts a known probability: that of the words of ``ODDS`` in them."""

    def logprob(self, ids, start):
        assert ids[-1] == TEXT.eos_id
        assert 1 <= start < len(ids)
        text = TEXT.decode(ids)
        return sum(math.log(p) for word, p in ODDS.items() if word in text)


class Gambler(Speaker):
    """Also draws samples: right ones with the seeds in ``lucky``."""

    lucky: tuple[int, ...] = ()

    def sample(self, prompt_ids, n, *, temperature, max_new_tokens, seed, stop_ids=()):
        right = 2 if seed in self.lucky else 0
        return [TEXT.encode(word, bos=False) for word in ["went."] * right + ["goed."] * (n - right)]


def graded(engine, probes, **kw):
    return grade(engine, TEXT, probes, model_digest=DIGEST, **kw)


@pytest.mark.parametrize(
    ("said", "answer"),
    [("went home", "went"), ("went.", "went"), ("went", "went"), ("wents", "wents"), ("Went", "Went"), (" went", "")],
)
def test_the_answer_ends_at_the_next_space_or_punctuation_and_must_match_exactly(said, answer):
    (outcome,) = graded(Speaker({"yesterday I ": said}), [make_probe()]).outcomes
    assert (outcome.answer, outcome.correct) == (answer, answer == "went")


def test_a_word_that_goes_on_is_not_taken_for_its_beginning():
    probe = make_probe(candidates=("go", "do"), expected="go")
    (outcome,) = graded(Speaker({"yesterday I ": "goes home"}), [probe]).outcomes
    assert not outcome.correct


def test_two_spellings_of_one_accent_are_one_word():
    probe = make_probe(candidates=("comi\u0301", "comio\u0301"), expected="comi\u0301")
    (outcome,) = graded(Speaker({"yesterday I ": "com\u00ed pan"}), [probe]).outcomes
    assert outcome.correct
    assert first_word("comi\u0301 pan") == "com\u00ed"


def test_a_blank_at_the_very_beginning_is_asked_with_no_text():
    assert graded(Speaker({"": "went"}), [make_probe(prompt="___ I home?")]).accuracy.correct == 1


def test_confidence_and_brier_follow_from_the_candidates_odds():
    (outcome,) = graded(Weigher({"yesterday I ": "goed"}), [make_probe()]).outcomes
    assert (outcome.answer, outcome.choice, outcome.confidence) == ("goed", "went", 0.6)
    assert outcome.brier == pytest.approx(0.4**2 + 0.3**2 + 0.1**2)


def test_a_candidate_that_begins_another_gains_nothing_by_being_shorter():
    class Uniform(Speaker):
        """Every token after the shared beginning has probability 1/100, but "s" after "goe" is certain."""

        def logprob(self, ids, start):
            text = TEXT.decode(ids)
            return math.log(0.9 if "goes" in text else 0.1)

    probe = make_probe(prompt="she ___", candidates=("go", "goes"), expected="goes")
    (outcome,) = graded(Uniform({"she ": "goes"}), [probe]).outcomes
    assert (outcome.choice, outcome.confidence) == ("goes", 0.9)


def test_the_shared_beginning_is_not_scored_and_cancels():
    starts = []

    class Recorder(Weigher):
        def logprob(self, ids, start):
            starts.append(start)
            return super().logprob(ids, start)

    graded(Recorder({"yesterday I ": "went"}), [make_probe()])
    assert set(starts) == {1 + len("yesterday I ")}


@pytest.mark.parametrize("value", [math.nan, 0.5])
def test_a_likelihood_that_is_none_is_refused(value):
    class Broken(Speaker):
        def logprob(self, ids, start):
            return value

    with pytest.raises(EngineError, match="probe p1: the log-probability of 'goed'"):
        graded(Broken({"yesterday I ": "went"}), [make_probe()])


def test_what_an_engine_cannot_do_is_none():
    report = graded(Speaker({"yesterday I ": "went"}), [make_probe()])
    assert (report.ece, report.brier, report.choice_accuracy, report.pass_at_k, report.sampling) == (None,) * 5


def test_pass_at_k_counts_the_seeded_samples_of_a_stated_subset():
    probes = [make_probe(f"p{i}") for i in range(6)]
    engine = Gambler({"yesterday I ": "went"})
    engine.lucky = (41,)
    report = graded(engine, probes, sampling=Sampling(probes=3, n=4, ks=(1, 2, 4), seed=40))
    drawn = [probe.id for probe in subset(probes, 3)]
    right = dict(zip(drawn, (0, 2, 0), strict=True))  # seeds 40, 41, 42
    assert {o.id: o.sampled_correct for o in report.outcomes} == {p.id: right.get(p.id) for p in probes}
    assert report.pass_at_k == pytest.approx({1: 0.5 / 3, 2: (1 - 1 / 6) / 3, 4: 1 / 3})
    assert graded(engine, probes, sampling=None).pass_at_k is None


def test_only_core_probes_are_sampled():
    probes = [make_probe("a", category="adversarial"), make_probe("b")]
    report = graded(Gambler({"yesterday I ": "went"}), probes)
    assert [outcome.sampled_correct for outcome in report.outcomes] == [None, 0]


def test_the_report_does_not_depend_on_the_order_of_probes():
    probes = [make_probe(f"p{i}", person=f"{1 + i % 3}sg") for i in range(9)]
    engine = Weigher({"yesterday I ": "went"})
    report = graded(engine, probes)
    assert graded(engine, probes[::-1]) == report
    assert report.eval_set_hash == eval_set_hash(probes)
    assert (report.model_digest, report.engine) == (DIGEST, "speaker")


def test_progress_is_told_after_each_probe():
    told = []
    graded(
        Speaker({"yesterday I ": "went"}), [make_probe("a"), make_probe("b")], progress=lambda *step: told.append(step)
    )
    assert told == [(1, 2), (2, 2)]


def test_a_set_that_cannot_be_graded_is_refused():
    engine = Speaker({"yesterday I ": "went"})
    for probes, match in (
        ([], "empty"),
        ([make_probe(), make_probe()], "two probes"),
        ([make_probe(category="adversarial")], "no core probe"),
    ):
        with pytest.raises(InputError, match=match):
            graded(engine, probes)


def test_a_subset_is_fixed_of_the_size_asked_and_nested():
    probes = [make_probe(f"p{i:03}") for i in range(100)]
    assert subset(probes, 30) == subset(probes[::-1], 30)
    assert [p.id for p in subset(probes, 30)] == sorted(p.id for p in subset(probes, 30))
    assert set(subset(probes, 10)) < set(subset(probes, 30))
    assert subset(probes, 1000) == tuple(probes)


def test_a_subset_of_a_grid_keeps_each_tense_and_person_in_about_its_share():
    grid = [
        make_probe(f"{verb}-{tense}-{person}", tense=tense, person=person)
        for verb in range(40)
        for tense in CHOICES["tense"]
        for person in CHOICES["person"]
    ]
    chosen = subset(grid, 60)
    for name in ("tense", "person"):
        share = 60 / len(CHOICES[name])
        for value in CHOICES[name]:
            assert 0.5 * share <= sum(getattr(p, name) == value for p in chosen) <= 1.5 * share


@pytest.mark.parametrize("bad", [{"n": 0}, {"probes": 0}, {"ks": (9,)}, {"ks": ()}, {"temperature": 0.0}])
def test_impossible_sampling_is_refused(bad):
    with pytest.raises(InputError):
        Sampling(**bad)
