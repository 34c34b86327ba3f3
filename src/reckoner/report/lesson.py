"""The lesson around an audit, for taking away: what was predicted, what came of it, what was learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reckoner.audit.lesson import ACT_1, ACT_2, REFLECTIONS, Locked, Question, Reveal
from reckoner.report.page import Section
from reckoner.report.tables import Table


def lesson_section(
    first: tuple[Locked, Reveal] | None, second: tuple[Locked, Reveal] | None, reflection: Mapping[str, str]
) -> Section:
    """Both predictions beside their outcomes, and the reflection; what is not there yet is named."""
    rows = [_row(question, told) for question, told in ((ACT_1, first), (ACT_2, second))]
    headers = ("Act", "Question", "Predicted", "Right", "Number", "Actual", "Off by", "Entry")
    answers = tuple((asks, reflection.get(name, "").strip() or "not answered") for name, asks in REFLECTIONS.items())
    return Section(
        title="Lesson",
        parts=(Table(headers=headers, rows=tuple(rows)), Table(headers=("Reflection", "Answer"), rows=answers)),
    )


def lesson_json(
    first: tuple[Locked, Reveal] | None, second: tuple[Locked, Reveal] | None, reflection: Mapping[str, str]
) -> dict[str, Any]:
    """The same as plain values."""

    def act(told: tuple[Locked, Reveal] | None) -> dict[str, Any] | None:
        if told is None:
            return None
        locked, reveal = told
        return {
            "entry": str(locked.id),
            "choice": locked.choice,
            "predicted": locked.figure,
            "answer": reveal.answer,
            "right": reveal.right,
            "actual": reveal.actual,
            "off_by": reveal.off_by,
        }

    return {
        "act1": act(first),
        "act2": act(second),
        "reflection": {name: reflection.get(name, "") for name in REFLECTIONS},
    }


def incomplete(
    first: tuple[Locked, Reveal] | None, second: tuple[Locked, Reveal] | None, reflection: Mapping[str, str]
) -> list[str]:
    """What the lesson still lacks."""
    found = [f"act {act}: no prediction is locked" for act, told in ((1, first), (2, second)) if told is None]
    return found + [f"reflection: {asks}" for name, asks in REFLECTIONS.items() if not reflection.get(name, "").strip()]


def _row(question: Question, told: tuple[Locked, Reveal] | None) -> tuple[Any, ...]:
    if told is None:
        return (question.act, question.asks, "not locked", None, None, None, None, None)
    locked, reveal = told
    right = {True: "yes", False: "no", None: "unknown"}[reveal.right]
    return (
        question.act,
        question.asks,
        question.options[locked.choice],
        right,
        locked.figure,
        reveal.actual,
        None if reveal.off_by is None else f"{reveal.off_by:.3g} x",
        str(locked.id),
    )
