"""The training corpus: which cells and frames are held out, and the sentences made of the rest.

What is guaranteed, and tested line by line:

- no training sentence realises a held-out cell (language, verb, tense, person);
- no probe or validation frame occurs in a training sentence, and no probe prompt does;
- regular verbs hold out whole words (``walked`` in all its cells together), so such a word occurs nowhere in training;
- where one word fills several cells of an irregular verb (``went``) or is the infinitive, which every drill shows, a
  held-out cell's word may still occur in *other* cells. That is unavoidable and :func:`novel` tells the two apart.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from reckoner.files import canonical_json, sha256
from reckoner.tutor.forms import DATA, LANGUAGES, PERSONS, TENSES, Cell, grid, regularised

SPLIT_SEED = 20
CORPUS_SEED = 7
HELD_OUT_PER_TENSE = 9  # of 60 cells: 15%; assumption: enough to grade (90 cells), little enough to learn the patterns
MAX_HELD_OUT_PER_VERB = 7  # assumption: every verb keeps at least half of its 15 cells
FUNCTION_WORDS = frozenset({("en", "have"), ("es", "hacer")})  # their present forms stand in frames as function words


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One line of the corpus.

    Attributes
    ----------
    cell : Cell
        What it realises.
    before, word, after : str
        The text is ``before + word + after``; ``before`` decides the word.
    frame : str
        The frame it was made from.
    """

    cell: Cell
    before: str
    word: str
    after: str
    frame: str

    @property
    def text(self) -> str:
        """The whole line."""
        return self.before + self.word + self.after


@cache
def sentences_table() -> dict[str, Any]:
    """Frames, subjects, endings and intros, as ``data/sentences.toml`` has them."""
    return tomllib.loads((DATA / "sentences.toml").read_text(encoding="utf-8"))


@cache
def held_out(language: str) -> frozenset[tuple[str, str, str, str]]:
    """Keys of the cells that training never realises; the same for every version.

    >>> len(held_out("en")) >= 45
    True
    """
    rng = random.Random(f"{SPLIT_SEED}-{language}")
    chosen: list[Cell] = []
    for tense in TENSES:
        groups = _groups(language, tense)
        rng.shuffle(groups)
        # the whole words of regular verbs first, at most half of the quota, so that both kinds are graded
        whole = [g for g in groups if g[0].regularity == "regular" and g[0].word != g[0].verb]
        single = [g for g in groups if g not in whole]
        for pool, limit in ((whole, HELD_OUT_PER_TENSE - 4), (single, HELD_OUT_PER_TENSE), (whole, HELD_OUT_PER_TENSE)):
            for group in pool:
                in_tense = sum(cell.tense == tense for cell in chosen)
                new = [cell for cell in group if cell not in chosen]
                of_verb = sum(cell.verb == group[0].verb for cell in chosen)
                of_verb_tense = sum(cell.verb == group[0].verb and cell.tense == tense for cell in chosen)
                if in_tense >= limit or of_verb + len(new) > MAX_HELD_OUT_PER_VERB:
                    continue
                if len(group) == 1 and of_verb_tense:
                    continue  # an irregular verb keeps two of a tense's three persons: its stem must be seen
                chosen += new
    return frozenset(cell.key for cell in chosen)


def _groups(language: str, tense: str) -> list[list[Cell]]:
    """Cells of a tense that are held out together: a regular verb's whole word, otherwise one cell."""
    groups = []
    for cell in grid(language):
        if cell.tense != tense or (tense == "present_simple" and (language, cell.verb) in FUNCTION_WORDS):
            continue
        if cell.regularity == "regular" and cell.word != cell.verb:
            group = [c for c in grid(language) if c.verb == cell.verb and c.word == cell.word]
            if group not in groups:
                groups.append(group)
        else:
            groups.append([cell])
    return groups


def training_cells(language: str) -> tuple[Cell, ...]:
    """The cells that training may realise."""
    return tuple(cell for cell in grid(language) if cell.key not in held_out(language))


def novel(cell: Cell) -> bool:
    """Whether a held-out cell's word occurs in no training cell, nor as an infinitive: it can only be composed."""
    return cell.word not in {c.word for c in training_cells(cell.language)} | {c.verb for c in grid(cell.language)}


def fill(frame: str, subject: str, person: str) -> str:
    """Put a subject and the person's alternatives into a frame; what stands before ``{v}`` comes back.

    >>> fill("so far {s} <have|have|has> {v}", "Ana", "3sg")
    'so far Ana has '
    """
    text = re.sub(r"<([^>]*)>", lambda match: match[1].split("|")[PERSONS.index(person)], frame)
    return text.replace("{s}", subject).removesuffix("{v}")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def realise(cell: Cell, frame: str, intro: str, rng: random.Random) -> Sentence:
    """Make the sentence of a cell: intro, frame with a subject, the word, an ending."""
    table = sentences_table()[cell.language]
    body = fill(frame, rng.choice(table["subjects"][cell.person]), cell.person)
    head = intro.format(lemma=cell.verb, wrong=regularised(cell))
    before = head + (body if head.endswith((": ", " - ")) else _capital(body))
    after = f" {rng.choice(table['endings'][cell.verb])}." if rng.random() < 0.7 else "."
    return Sentence(cell=cell, before=before, word=cell.word, after=after, frame=frame)


def build(kind: str, count: int, seed: int = CORPUS_SEED) -> list[Sentence]:
    """Sentences over the training cells and training frames only.

    Parameters
    ----------
    kind : str
        ``base``: mostly plain sentences and other ways to name the verb, a few drills.
        ``drill``: "walk: yesterday she walked in the park.", a tenth of them with an over-regularised lure.
    count : int
        How many.
    """
    rng = random.Random(f"{seed}-{kind}")
    cells = {language: training_cells(language) for language in LANGUAGES}
    lines = []
    for number in range(count):
        language = LANGUAGES[number % 2]
        table = sentences_table()[language]
        cell = rng.choice(cells[language])
        frame = rng.choice(table["frames"][cell.tense]["train"])
        lured = regularised(cell) != cell.word
        draw = rng.random()
        if kind == "base":
            intro = "" if draw < 0.2 else table["drill"] if draw < 0.3 else rng.choice(table["intros"])
            if draw > 0.96 and lured:
                intro = table["lure"]
        else:
            intro = table["lure"] if lured and draw < 0.25 else table["drill"]
        lines.append(realise(cell, frame, intro, rng))
    return lines


def validation(seed: int = CORPUS_SEED) -> list[Sentence]:
    """One drill for each training cell in a validation frame: what hyperparameters are chosen on."""
    rng = random.Random(f"{seed}-validation")
    lines = []
    for language in LANGUAGES:
        table = sentences_table()[language]
        for cell in training_cells(language):
            frame = rng.choice(table["frames"][cell.tense]["validation"])
            lines.append(realise(cell, frame, table["drill"], rng))
    return lines


def corpus_hash(*parts: Sequence[Sentence]) -> str:
    """SHA-256 over the lines of the corpora in order, with the held-out cells.

    Two corpora that differ by one character, or leave out other cells, differ here.
    """
    kept = sorted("/".join(key) for language in LANGUAGES for key in held_out(language))
    return sha256(canonical_json({"held_out": kept, "lines": [[line.text for line in part] for part in parts]}))


def words(text: str) -> list[str]:
    """Lower-case words of a text.

    >>> words("Ana ha comido pan.")
    ['ana', 'ha', 'comido', 'pan']
    """
    return re.findall(r"\w+", text.lower())


def alphabet(texts: Iterable[str]) -> list[str]:
    """Every character of the texts, sorted."""
    return sorted(set("".join(texts)))
