"""The grid of conjugated forms: 20 verbs x 5 tenses x 3 persons = 300 cells in each language."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from reckoner.errors import InputError

DATA = Path(__file__).parent / "data"
LANGUAGES = ("en", "es")
TENSES = ("infinitive", "present_simple", "past_simple", "past_participle", "future")
PERSONS = ("1sg", "2sg", "3sg")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Cell:
    """One place of the grid.

    Attributes
    ----------
    language, verb, tense, person : str
        ``verb`` is the infinitive in its own language.
    word : str
        The verb's own word in a sentence; the English future's "will" and the perfect's auxiliary stand outside it.
    regularity : str
        ``regular`` or ``irregular``, in its own language.
    """

    language: str
    verb: str
    tense: str
    person: str
    word: str
    regularity: str

    @property
    def form(self) -> str:
        """The full form, with English "will".

        >>> next(c for c in grid("en") if (c.verb, c.tense) == ("eat", "future")).form
        'will eat'
        """
        return f"will {self.word}" if (self.language, self.tense) == ("en", "future") else self.word

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names the cell: language, verb, tense, person."""
        return (self.language, self.verb, self.tense, self.person)


@cache
def _tables() -> dict[str, dict[str, dict[str, Any]]]:
    return tomllib.loads((DATA / "forms.toml").read_text(encoding="utf-8"))


def pairs() -> tuple[tuple[str, str], ...]:
    """The 20 verb pairs, English first, in the table's order.

    >>> pairs()[0]
    ('work', 'trabajar')
    """
    return tuple((verb, row["pair"]) for verb, row in _tables()["en"].items())


@cache
def grid(language: str) -> tuple[Cell, ...]:
    """All 300 cells of a language, in the order verb, tense, person.

    Raises
    ------
    InputError
        Another language than ``en`` or ``es``, or a row of the table without exactly one word for each person.

    >>> len(grid("es")), grid("es")[7].word
    (300, 'trabajaste')
    """
    if language not in LANGUAGES:
        raise InputError(f"language is {language!r}; the grid has {', '.join(LANGUAGES)}")
    cells = []
    for verb, row in _tables()[language].items():
        words = {
            "infinitive": [verb] * 3,
            "present_simple": row["present"].split(),
            "past_simple": row["past"].split(),
            "past_participle": [row["participle"]] * 3,
            "future": row["future"].split(),
        }
        for tense in TENSES:
            if len(words[tense]) != len(PERSONS):
                raise InputError(
                    f"forms.toml: {verb} {tense} has {len(words[tense])} words; give one for each of 3 persons"
                )
            cells += [
                Cell(language=language, verb=verb, tense=tense, person=p, word=w, regularity=row["regularity"])
                for p, w in zip(PERSONS, words[tense], strict=True)
            ]
    return tuple(cells)


_SPANISH_ENDINGS = {
    "ar": {"present_simple": "o as a", "past_simple": "é aste ó", "past_participle": "ado ado ado"},
    "er": {"present_simple": "o es e", "past_simple": "í iste ió", "past_participle": "ido ido ido"},
    "ir": {"present_simple": "o es e", "past_simple": "í iste ió", "past_participle": "ido ido ido"},
}


def regularised(cell: Cell) -> str:
    """The word that the regular pattern would give: *goed*, *eated*, *escribido*.

    Equal to the right word where the verb is regular there. "ir" has no stem to build on, so its own word comes back.

    >>> [regularised(c) for c in grid("en") if c.verb == "go" and c.person == "3sg"]
    ['go', 'goes', 'goed', 'goed', 'go']
    >>> [regularised(c) for c in grid("es") if c.verb == "hacer" and c.person == "1sg"]
    ['hacer', 'haco', 'hací', 'hacido', 'haceré']
    """
    person = PERSONS.index(cell.person)
    if cell.language == "en":
        return _regular_english(cell.verb, cell.tense, person)
    stem, group = cell.verb[:-2], cell.verb[-2:]
    if cell.tense == "infinitive" or not stem:
        return cell.word
    if cell.tense == "future":
        return cell.verb + ("é", "ás", "á")[person]
    return stem + _SPANISH_ENDINGS[group][cell.tense].split()[person]


def _regular_english(verb: str, tense: str, person: int) -> str:
    consonant_y = verb.endswith("y") and verb[-2] not in "aeiou"
    stem = verb[:-1] + "i" if consonant_y else verb
    if tense in ("past_simple", "past_participle"):
        return stem + ("d" if verb.endswith("e") else "ed")
    if tense == "present_simple" and person == PERSONS.index("3sg"):
        return stem + ("es" if consonant_y or verb.endswith(("o", "ch", "sh")) else "s")
    return verb
