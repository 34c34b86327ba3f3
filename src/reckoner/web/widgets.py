"""marimo's controls for a question, a design and a reflection; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import marimo as mo

from reckoner.audit.lesson import Question
from reckoner.web.design import TITLES, Control


def question(asked: Question) -> tuple[Any, Any, Any]:
    """Options, number and lock of a question."""
    choice = mo.ui.radio(options={words: key for key, words in asked.options.items()}, label=asked.asks)
    step = 0.01 if asked.most <= 1 else 0.1
    figure = mo.ui.number(start=asked.least, stop=asked.most, step=step, value=None, label=asked.asks_figure)
    return choice, figure, mo.ui.run_button(label=f"Lock my prediction of act {'I' if asked.act == 1 else 'II'}")


def control(one: Control) -> Any:
    """The widget of one control."""
    if one.kind == "choice":
        return mo.ui.dropdown(options=list(one.options), value=one.value, label=one.label)
    if one.kind == "slider":
        return mo.ui.slider(
            start=one.least, stop=one.most, step=one.step, value=one.value, label=one.label, show_value=True
        )
    return mo.ui.number(start=one.least, stop=one.most, step=one.step, value=one.value, label=one.label)


def form(groups: Mapping[str, Sequence[Control]]) -> Any:
    """All controls in one dictionary, by their names."""
    return mo.ui.dictionary({one.name: control(one) for group in groups.values() for one in group})


def layout(made: Any, groups: Mapping[str, Sequence[Control]]) -> Any:
    """The controls tier by tier: the seed's in front, the others opened on demand."""
    rows: list[Any] = [mo.Html('<div class="rk"><h2>The design</h2></div>')]
    for name, group in groups.items():
        title = TITLES.get(name, "Promises and cadence")
        rows.append(mo.Html(f'<div class="rk"><h3>{title}</h3></div>'))
        front = [made[one.name] for one in group if one.first]
        rest = [made[one.name] for one in group if not one.first]
        shown = mo.hstack(front, justify="start", wrap=True, gap=1)
        # Three tiers have a "Model": the group says whose it is to those who do not see the heading.
        rows.append(mo.Html(f'<div role="group" aria-label="{title}">{shown.text}</div>'))
        if rest:
            rows.append(mo.accordion({f"{title}: more": mo.hstack(rest, justify="start", wrap=True, gap=1)}))
    return mo.vstack(rows, gap=0.4)


def reflection(asked: Mapping[str, str]) -> Any:
    """A text for each question."""
    return mo.ui.dictionary(
        {name: mo.ui.text_area(label=words, rows=2, full_width=True) for name, words in asked.items()}
    )
