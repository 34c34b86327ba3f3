"""The probes: 300 core questions per language and those that lure with an over-regularised form.

A probe's prompt holds ``___``; all that decides the answer (lemma, tense, person) stands before it, so an engine
continues the text before ``___`` greedily up to the next space or punctuation and is graded on an exact match. Every
probe stands in a frame that no training or validation sentence uses.

``label``
    ``correct``: the prompt shows no wrong form (core probes). ``incorrect``: it shows an over-regularised form and says
    that it is wrong (adversarial probes); copying it is the mistake. ``ambiguous`` is kept by the schema for probes
    with several right answers; there are none here, because the lemma, the tense and the person are always given.
``split``
    ``seen``: training realised the cell, in other frames. ``held_out``: it did not.
"""

from __future__ import annotations

import json
import random
from typing import Any

from reckoner.evaluate.probes import BLANK
from reckoner.tutor.corpus import fill, held_out, sentences_table
from reckoner.tutor.forms import LANGUAGES, Cell, grid, regularised

PROBE_SEED = 38
THROUGHPUT_SEED = 200
THROUGHPUT_COUNT = 200  # seed 000, block A: "a fixed 200-sentence sub-set"


def build_probes(seed: int = PROBE_SEED) -> list[dict[str, Any]]:
    """All probes, core then adversarial, in the grid's order."""
    rng = random.Random(seed)
    cells = [cell for language in LANGUAGES for cell in grid(language)]
    core = [_probe(cell, "core", rng) for cell in cells]
    return core + [_probe(cell, "adversarial", rng) for cell in cells if regularised(cell) != cell.word]


def _probe(cell: Cell, category: str, rng: random.Random) -> dict[str, Any]:
    table = sentences_table()[cell.language]
    wrong = regularised(cell)
    intro = table["lure"] if category == "adversarial" else table["drill"]
    frame = rng.choice(table["frames"][cell.tense]["probe"])
    subject = rng.choice(table["subjects"][cell.person])
    before = intro.format(lemma=cell.verb, wrong=wrong) + fill(frame, subject, cell.person)
    return {
        "id": "-".join((*cell.key, category)),
        "language": cell.language,
        "verb": cell.verb,
        "regularity": cell.regularity,
        "tense": cell.tense,
        "person": cell.person,
        "prompt": f"{before}{BLANK} {rng.choice(table['endings'][cell.verb])}.",
        "candidates": _candidates(cell, rng),
        "expected": cell.word,
        "label": "incorrect" if category == "adversarial" else "correct",
        "category": category,
        "split": "held_out" if cell.key in held_out(cell.language) else "seen",
    }


def _candidates(cell: Cell, rng: random.Random) -> list[str]:
    """Up to 4, shuffled: the right word, the over-regularised one where it differs, other forms of the verb."""
    others = sorted({c.word for c in grid(cell.language) if c.verb == cell.verb} - {cell.word})
    rng.shuffle(others)
    lure = [regularised(cell)] if regularised(cell) not in {cell.word, *others} else []
    chosen = [cell.word, *lure, *others][:4]
    rng.shuffle(chosen)
    return chosen


def throughput_prompts(probes: list[dict[str, Any]], seed: int = THROUGHPUT_SEED) -> list[dict[str, str]]:
    """The fixed 200 prompts of the throughput test: half of each language, core probes, drawn by the seed."""
    rng = random.Random(seed)
    chosen: list[dict[str, str]] = []
    for language in LANGUAGES:
        pool = [p for p in probes if p["language"] == language and p["category"] == "core"]
        picked = rng.sample(pool, THROUGHPUT_COUNT // len(LANGUAGES))
        chosen += [{"id": p["id"], "prompt": p["prompt"].split(BLANK)[0]} for p in picked]
    return chosen


def jsonl(rows: list[dict[str, Any]] | list[dict[str, str]]) -> str:
    """One JSON object a line, keys as given."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
