"""What the pages show, as pure functions: figures in, HTML out. A page adds controls and nothing else."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final, Literal

from reckoner.report.chart import Chart
from reckoner.report.page import Drawing, Section
from reckoner.report.svg import to_figure
from reckoner.report.tables import Table, inline, to_html

Part = str | Chart | Table | Drawing
Word = Literal["pass", "fail", "unknown"]
WORDS: Final[dict[bool | None, Word]] = {True: "pass", False: "fail", None: "unknown"}
ICONS: Final[dict[str, str]] = {"pass": "✓", "fail": "✗", "unknown": "?"}


def block(parts: Iterable[Part], *, title: str = "") -> str:
    """Paragraphs, figures and tables in a section of the page."""
    heading = f"<h2>{html.escape(title)}</h2>" if title else ""
    label = f' aria-label="{html.escape(title, quote=True)}"' if title else ""
    return f'<section class="rk"{label}>{heading}{"".join(_part(part) for part in parts)}</section>'


def sections(found: Iterable[Section]) -> str:
    """Sections of a report, one under the other."""
    return "".join(block(section.parts, title=section.title) for section in found)


def note(text: str, kind: str = "info") -> str:
    """A remark in a box: its kind is told by words and border, colour last."""
    return f'<div class="rk"><div class="note {kind}" role="note">{_paragraphs(text)}</div></div>'


def judged(text: str, word: Word) -> str:
    """A remark in a box that begins with its verdict."""
    chip = f"<p>{verdict(word)}</p>"
    return f'<div class="rk"><div class="note {word}" role="note">{chip}{_paragraphs(text)}</div></div>'


def verdict(word: Word, text: str = "") -> str:
    """A verdict as icon and word, with its border."""
    return (
        f'<span class="verdict {word}"><span aria-hidden="true">{ICONS[word]}</span> {html.escape(text or word)}</span>'
    )


def _part(part: Part) -> str:
    if isinstance(part, Chart):
        return to_figure(part)
    if isinstance(part, Table):
        return to_html(part)
    if isinstance(part, Drawing):
        return f'<figure class="fig">{part.svg}<figcaption>{inline(part.caption)}</figcaption></figure>'
    return _paragraphs(part)


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{inline(paragraph)}</p>" for paragraph in text.split("\n\n"))
