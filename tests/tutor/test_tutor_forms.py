from __future__ import annotations

from collections import Counter

import pytest

from reckoner.errors import InputError
from reckoner.tutor.forms import LANGUAGES, PERSONS, TENSES, grid, pairs, regularised

WORDS = {(*cell.key,): cell.word for language in LANGUAGES for cell in grid(language)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_grid_has_300_cells_each_named_once(language):
    assert len(grid(language)) == 300
    assert len({cell.key for cell in grid(language)}) == 300
    assert Counter(cell.tense for cell in grid(language)) == dict.fromkeys(TENSES, 60)
    assert Counter(cell.person for cell in grid(language)) == dict.fromkeys(PERSONS, 100)


def test_each_english_verb_has_one_spanish_partner_and_back():
    spanish = [verb for _, verb in pairs()]
    assert len(set(spanish)) == 20
    assert set(spanish) == {cell.verb for cell in grid("es")}


def test_english_regularity_is_the_seeds():
    regular = {cell.verb for cell in grid("en") if cell.regularity == "regular"}
    assert " ".join(sorted(regular)) == "finish like listen look play start study talk walk want watch work"


def test_a_verb_called_regular_is_regular_in_every_cell_and_an_irregular_one_is_not():
    for language in LANGUAGES:
        for verb in {cell.verb for cell in grid(language)} - {"ir"}:
            cells = [cell for cell in grid(language) if cell.verb == verb]
            differs = any(regularised(cell) != cell.word for cell in cells)
            assert differs == (cells[0].regularity == "irregular"), verb


@pytest.mark.parametrize(
    ("language", "verb", "tense", "forms"),
    [
        ("en", "be", "present_simple", "am are is"),
        ("en", "be", "past_simple", "was were was"),
        ("en", "study", "present_simple", "study study studies"),
        ("en", "go", "past_participle", "gone gone gone"),
        ("en", "write", "past_simple", "wrote wrote wrote"),
        ("es", "jugar", "past_simple", "jugué jugaste jugó"),
        ("es", "empezar", "past_simple", "empecé empezaste empezó"),
        ("es", "querer", "future", "querré querrás querrá"),
        ("es", "estar", "present_simple", "estoy estás está"),
        ("es", "tener", "past_simple", "tuve tuviste tuvo"),
        ("es", "hacer", "past_simple", "hice hiciste hizo"),
        ("es", "ir", "past_simple", "fui fuiste fue"),
        ("es", "venir", "future", "vendré vendrás vendrá"),
        ("es", "ver", "past_simple", "vi viste vio"),
        ("es", "comer", "present_simple", "como comes come"),
        ("es", "escribir", "past_participle", "escrito escrito escrito"),
        ("es", "hacer", "past_participle", "hecho hecho hecho"),
    ],
)
def test_known_forms_stand_in_the_grid(language, verb, tense, forms):
    assert [WORDS[language, verb, tense, person] for person in PERSONS] == forms.split()


def test_the_english_future_is_will_and_the_verb():
    assert {cell.form for cell in grid("en") if cell.verb == "see" and cell.tense == "future"} == {"will see"}


def test_every_infinitive_is_the_verb_and_every_spanish_future_is_accented():
    for language in LANGUAGES:
        assert all(cell.word == cell.verb for cell in grid(language) if cell.tense == "infinitive")
    assert all(cell.word[-1] in "éá" or cell.word.endswith("ás") for cell in grid("es") if cell.tense == "future")


def test_the_seeds_overregularised_forms_come_out():
    wrong = {regularised(cell) for language in LANGUAGES for cell in grid(language)}
    assert {"goed", "eated", "escribido"} <= wrong


def test_another_language_is_refused_by_name():
    with pytest.raises(InputError, match="'fr'; the grid has en, es"):
        grid("fr")
