"""The Mental Model Report Card: how often somebody's predictions were right, read from the ledger's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reckoner.audit.invariants import NAMES
from reckoner.ledger import Ledger, Score

LABS = range(1, 16)
"""Chapters of the course before the audit, which is chapter 16."""

CHAPTERS: dict[str, tuple[int, ...]] = {
    "iron law": (2,),
    "memory wall": (5, 8),
    "amdahl": (6, 12),
    "roofline": (7, 11),
    "little": (13,),
    "degradation": (3, 14),
    "fairness": (15,),
}
"""Chapters that each invariant is practised in (Architect's Audit, cell 5)."""

CONTEXTS = ("cloud", "edge", "mobile", "tiny")


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """How an invariant was practised.

    Parameters
    ----------
    invariant : str
        One of :data:`~reckoner.audit.invariants.NAMES`.
    right, hits, n : int
        Predictions that were right, constraints that were hit, and chapters done.
    """

    invariant: str
    right: int
    hits: int
    n: int

    @property
    def share_right(self) -> float | None:
        """Share of right predictions; None where nothing was done, which is no 50 %."""
        return self.right / self.n if self.n else None

    @property
    def share_hit(self) -> float | None:
        """Share of chapters in which a constraint was hit; None where nothing was done."""
        return self.hits / self.n if self.n else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCard:
    """What a history says of a person's mental model.

    Parameters
    ----------
    done : tuple of int
        Labs with an entry.
    right, hits : int
        Labs whose prediction was right, and labs in which a constraint was hit.
    contexts : mapping of str to int
        Labs by context.
    practice : tuple of Practice
        The seven invariants, for the radar.
    guesses : tuple of Score
        The person's numeric guesses against their outcomes: error, bias, coverage.
    """

    done: tuple[int, ...]
    right: int
    hits: int
    contexts: Mapping[str, int]
    practice: tuple[Practice, ...]
    guesses: tuple[Score, ...]

    @property
    def share_right(self) -> float | None:
        """Share of right predictions; None without a history."""
        return self.right / len(self.done) if self.done else None

    @property
    def favourite(self) -> str | None:
        """Context of most labs; None without a history."""
        best = max(CONTEXTS, key=lambda name: (self.contexts[name], -CONTEXTS.index(name)))
        return best if self.contexts[best] else None

    @property
    def weakest(self) -> str | None:
        """Invariant with the lowest share of right predictions, the first of equals; None without a history."""
        known = [p for p in self.practice if p.share_right is not None]
        return min(known, key=lambda p: (p.share_right, NAMES.index(p.invariant))).invariant if known else None


def report_card(ledger: Ledger, person: str) -> ReportCard:
    """Read a person's report card: every chapter's last design, and the scores of the person's own guesses."""
    guesses = tuple(score for score in ledger.score(predictor=person) if score.n)
    return card_of(designs(ledger), guesses)


def designs(ledger: Ledger) -> dict[int, Mapping[str, Any]]:
    """Last design of each chapter, imported or saved here."""
    found: dict[int, Mapping[str, Any]] = {}
    for kept in ledger.entries(kind="decision"):
        word, _, number = str(kept.body["subject"]).partition(" ")
        if word == "chapter" and number.isdigit():
            found[int(number)] = kept.body["details"]
    return found


def card_of(chapters: Mapping[int, Mapping[str, Any]], guesses: Sequence[Score] = ()) -> ReportCard:
    """Report card of designs by chapter.

    >>> card = card_of({2: {"act1_correct": True, "context": "cloud"}, 13: {"act1_correct": False}})
    >>> card.share_right, card.weakest, card.favourite
    (0.5, 'little', 'cloud')
    """
    done = tuple(chapter for chapter in LABS if chapter in chapters)

    def count(name: str, among: Sequence[int]) -> int:
        return sum(chapters[chapter].get(name) is True for chapter in among)

    practice = []
    for invariant in NAMES:
        among = [chapter for chapter in CHAPTERS[invariant] if chapter in chapters]
        practice.append(
            Practice(
                invariant=invariant,
                right=count("act1_correct", among),
                hits=count("constraint_hit", among),
                n=len(among),
            )
        )
    contexts = dict.fromkeys(CONTEXTS, 0)
    for chapter in done:
        context = chapters[chapter].get("context", "cloud")
        if context in contexts:
            contexts[context] += 1
    return ReportCard(
        done=done,
        right=count("act1_correct", done),
        hits=count("constraint_hit", done),
        contexts=contexts,
        practice=tuple(practice),
        guesses=tuple(guesses),
    )
