from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.evaluate.probes import BLANK
from reckoner.tutor.corpus import (
    alphabet,
    build,
    corpus_hash,
    held_out,
    novel,
    sentences_table,
    training_cells,
    validation,
    words,
)
from reckoner.tutor.forms import LANGUAGES, PERSONS, TENSES, grid
from reckoner.tutor.probes import build_probes
from reckoner.tutor.recipe import BASE, DRILL

FUNCTION_WORDS = {"en": {"have", "has"}, "es": {"hace"}}


@pytest.fixture(scope="module")
def lines():
    return build("base", BASE.sentences) + build("drill", DRILL.sentences)


def test_no_training_sentence_realises_a_held_out_cell(lines):
    used = {line.cell.key for line in [*lines, *validation()]}
    for language in LANGUAGES:
        assert not used & held_out(language)
        assert {cell.key for cell in training_cells(language)} <= used


def test_a_novel_word_stands_in_no_training_sentence_of_its_language(lines):
    for language in LANGUAGES:
        seen = {word for line in lines if line.cell.language == language for word in words(line.text)}
        unseen = {cell.word for cell in grid(language) if cell.key in held_out(language) and novel(cell)}
        assert len(unseen) >= 5
        assert not seen & unseen


def test_no_frame_or_ending_holds_a_form_of_the_grid_but_the_function_words():
    for language in LANGUAGES:
        forms = {cell.word for cell in grid(language)} - FUNCTION_WORDS[language]
        table = sentences_table()[language]
        texts = [frame for tense in TENSES for kind in table["frames"][tense].values() for frame in kind]
        texts += [ending for endings in table["endings"].values() for ending in endings]
        texts += [subject for subjects in table["subjects"].values() for subject in subjects]
        for text in texts:
            assert not set(words(re.sub(r"\{.\}", "", text))) & forms, text


def test_no_frame_serves_two_purposes():
    for language in LANGUAGES:
        frames = Counter(
            frame
            for tense in TENSES
            for kind in sentences_table()[language]["frames"][tense].values()
            for frame in kind
        )
        assert max(frames.values()) == 1


def body(before):
    """The filled frame, without the intro that names the verb."""
    return re.split(r": | - |\) |\. ", before.lower())[-1]


def test_no_probe_or_validation_sentence_occurs_in_training(lines):
    trained = {body(line.before) for line in lines}
    assert body("(eat) Ayer yo ") in trained
    probed = {body(probe["prompt"].split(BLANK)[0]) for probe in build_probes()}
    validated = {body(line.before) for line in validation()}
    assert not trained & probed
    assert not trained & validated
    assert not probed & validated


def test_held_out_cells_are_about_15_percent_of_every_tense():
    for language in LANGUAGES:
        tenses = Counter(key[2] for key in held_out(language))
        assert all(9 <= tenses[tense] <= 11 for tense in TENSES)
        assert 45 <= len(held_out(language)) <= 50


def test_an_irregular_verb_keeps_at_least_two_persons_of_every_tense():
    for language in LANGUAGES:
        lost = Counter(
            (cell.verb, cell.tense)
            for cell in grid(language)
            if cell.key in held_out(language) and cell.regularity == "irregular"
        )
        assert max(lost.values()) == 1


def test_the_corpus_is_the_same_on_every_run():
    assert corpus_hash(build("base", 50)) == corpus_hash(build("base", 50))
    assert corpus_hash(build("base", 50)) == "f684b23ba052197bdaa3b765abf82ed030d3fa7292ec049f6579fa868f992c99"


def test_another_seed_or_one_line_less_is_another_corpus():
    assert corpus_hash(build("base", 50, seed=8)) != corpus_hash(build("base", 50))
    assert corpus_hash(build("base", 49)) != corpus_hash(build("base", 50))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["base", "drill"]), st.integers(0, 1000))
def test_every_line_is_its_parts_and_ends_in_a_full_stop(kind, seed):
    for line in build(kind, 4, seed):
        assert line.text == line.before + line.word + line.after
        assert line.word == line.cell.word
        assert line.before.endswith(" ")
        assert line.text.endswith(".")
        assert not set(line.text) & set("{}<>|_")


def test_persons_and_languages_are_drawn_evenly(lines):
    assert Counter(line.cell.language for line in lines)["en"] * 2 == len(lines)
    shares = Counter(line.cell.person for line in lines)
    assert all(0.25 < shares[person] / len(lines) < 0.42 for person in PERSONS)


def test_the_alphabet_is_every_character_once():
    assert alphabet(["aba", "c "]) == [" ", "a", "b", "c"]
