"""A chart as inline SVG: no script, nothing to load, light and dark by the page's style, words for who cannot see it.

The drawing is made twice, for a wide and for a narrow screen, and the style sheet shows the one that fits: text keeps
its size on a phone.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Final

from reckoner.report.chart import Annotation, Chart, Series
from reckoner.report.svg_parts import line, path, symbol, words
from reckoner.report.tables import inline, number, to_html
from reckoner.report.theme import GRID_DARK, GRID_LIGHT, INK_DARK, INK_LIGHT, PAPER_DARK, PAPER_LIGHT, TONES

# Sizes in CSS pixels, our own choice: a reading column and a phone of 390 px less its margins.
WIDE: Final = (760.0, 400.0)
NARROW: Final = (346.0, 360.0)
_TEXT: Final = 13.0
_LETTER: Final = 0.56 * _TEXT  # mean width of a letter of a sans-serif face, enough to keep words apart
_DASHES: Final = ("", "7 4", "8 3 2 3", "12 4")
_DOTTED: Final = "2 3"
_PAD: Final = 0.06  # empty share of an axis beyond its outermost point
_TURN: Final = 0.65  # words right of this stand left of their mark


def _colours(dark: bool) -> str:
    ink, grid, paper = (INK_DARK, GRID_DARK, PAPER_DARK) if dark else (INK_LIGHT, GRID_LIGHT, PAPER_LIGHT)
    tones = "".join(f"--tone-{index}:{look.dark if dark else look.light};" for index, look in enumerate(TONES))
    return f"--fig-ink:{ink};--fig-grid:{grid};--fig-paper:{paper};{tones}"


SVG_CSS: Final = f"""\
.fig {{ {_colours(False)} margin: 1rem 0; max-width: {WIDE[0]:.0f}px; }}
@media (prefers-color-scheme: dark) {{ .fig {{ {_colours(True)} }} }}
.fig svg {{ display: block; width: 100%; height: auto; font-size: {_TEXT:.0f}px; overflow: visible; }}
.fig svg text {{ fill: var(--fig-ink); }}
.fig svg.narrow {{ display: none; }}
@media (max-width: 560px) {{ .fig svg.wide {{ display: none; }} .fig svg.narrow {{ display: block; }} }}
.fig .halo {{ stroke: var(--fig-paper); stroke-width: 4px; paint-order: stroke; stroke-linejoin: round; }}
{"".join(f".fig .tone-{index} {{ --c: var(--tone-{index}); }} " for index in range(len(TONES)))}
"""


def to_figure(chart: Chart) -> str:
    """The whole figure as HTML: heading, drawing, caption, and the table of its numbers.

    The page holds :data:`SVG_CSS` once.
    """
    return (
        f'<figure class="fig"><h3>{html.escape(chart.title)}</h3>{to_svg(chart, narrow=False)}'
        f"{to_svg(chart, narrow=True)}<figcaption>{inline(chart.caption)}</figcaption>"
        f"<details><summary>The numbers</summary>{to_html(chart.table, chart.title)}</details></figure>"
    )


def to_svg(chart: Chart, *, narrow: bool = False) -> str:
    """One drawing of a chart, for a wide or a narrow screen."""
    return _Drawing(chart, narrow=narrow).svg()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """Where values of one axis stand, and which of them are named."""

    place: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]


class _Drawing:
    """One drawing while it is made."""

    def __init__(self, chart: Chart, *, narrow: bool) -> None:
        self.chart, self.narrow = chart, narrow
        self.width, self.height = NARROW if narrow else WIDE
        self.id = f"{chart.name}-{'narrow' if narrow else 'wide'}"
        legend, rows = self._legend()
        self.height += 22 * max(rows - 1, 0)
        values = _span(chart, "y")
        labels = [text for _, text in _ticks(*values, log=chart.log_y, room=self.height - 110)]
        self.left = 30 + _LETTER * max((len(text) for text in labels), default=1)
        self.top = 14 + 22 * rows
        self.right = self.width - 12
        self.bottom = self.height - 50
        self.legend = legend
        self.y = _axis(values, chart.log_y, (self.bottom, self.top))
        self.x = self._categories() if chart.categories else _axis(_span(chart, "x"), chart.log_x, self._ends())

    def _ends(self) -> tuple[float, float]:
        return (self.left, self.right)

    def _categories(self) -> _Axis:
        names = self.chart.categories
        step = (self.right - self.left) / len(names)
        ticks = tuple((float(index), name) for index, name in enumerate(names))
        return _Axis(place=lambda at: self.left + step * (at + 0.5), ticks=ticks)

    def svg(self) -> str:
        label = html.escape(f"{self.chart.title}. {self.chart.caption}", quote=True)
        parts = [
            self._frame(),
            *(self._zone(low, high, text) for low, high, text in self.chart.zones),
            *(self._mark_line(mark) for mark in self.chart.annotations),
            *(self._series(index, series) for index, series in enumerate(self.chart.series)),
            *(self._mark_words(mark) for mark in self.chart.annotations),
            self.legend,
        ]
        return (
            f'<svg class="{"narrow" if self.narrow else "wide"}" viewBox="0 0 {self.width:.0f} {self.height:.0f}" '
            f'role="img" aria-label="{label}">{"".join(parts)}</svg>'
        )

    # what stands around the data

    def _frame(self) -> str:
        parts = []
        for value, name in self.y.ticks:
            at = self.y.place(value)
            parts.append(line(self.left, at, self.right, at, stroke="var(--fig-grid)"))
            parts.append(words(self.left - 6, at + 4, name, anchor="end"))
        parts.append(self._x_ticks())
        parts.append(line(self.left, self.bottom, self.right, self.bottom, stroke="var(--fig-ink)"))
        middle = (self.left + self.right) / 2
        parts.append(words(middle, self.height - 6, self.chart.x_title, anchor="middle"))
        upright = (self.top + self.bottom) / 2
        title = html.escape(self.chart.y_title)
        parts.append(f'<text transform="translate(13 {upright:.1f}) rotate(-90)" text-anchor="middle">{title}</text>')
        return "".join(parts)

    def _x_ticks(self) -> str:
        parts, free = [], -math.inf
        for value, name in self.x.ticks:
            at = self.x.place(value)
            half = _LETTER * len(name) / 2
            if self.chart.categories:
                room = (self.right - self.left) / len(self.x.ticks)
                parts += [
                    words(at, self.bottom + 16 + 13 * row, part, anchor="middle")
                    for row, part in enumerate(_wrapped(name, room))
                ]
                continue
            parts.append(line(at, self.top, at, self.bottom, stroke="var(--fig-grid)"))
            if at - half > free and at + half < self.width:
                parts.append(words(at, self.bottom + 17, name, anchor="middle"))
                free = at + half + 6
        return "".join(parts)

    def _legend(self) -> tuple[str, int]:
        """Names of the series above the plot, in as many rows as they need."""
        if len(self.chart.series) < 2:
            return "", 0
        parts, x, row = [], 8.0, 0
        for index, series in enumerate(self.chart.series):
            need = 34 + _LETTER * len(series.name) + 14
            if x > 8 and x + need > self.width:
                x, row = 8.0, row + 1
            y = 12 + 22 * row
            tone = _tone(index, series)
            sample = ""
            if series.style != "dots":
                width = 2.2 if series.style == "dotted" else 1.8
                sample = line(x, y, x + 26, y, stroke="var(--c)", width=width, dash=_dash(tone, series))
            if series.style in ("dots", "line+dots"):
                sample += symbol(tone, x + 13, y)
            if series.style == "bars":
                sample = f'<rect x="{x + 4:.1f}" y="{y - 6:.1f}" width="18" height="12" fill="var(--c)"/>'
            shown = html.escape(series.name)
            parts.append(f'<g class="tone-{tone}">{sample}</g><text x="{x + 32:.1f}" y="{y + 4:.1f}">{shown}</text>')
            x += need
        return "".join(parts), row + 1

    # the data

    def _series(self, index: int, series: Series) -> str:
        tone = _tone(index, series)
        points = [
            (self._x(value, index), None if y is None else self.y.place(y))
            for value, y in zip(series.x, series.y, strict=True)
        ]
        if series.style == "bars":
            body = self._bars(tone, index, series)
        else:
            body = ""
            if series.style != "dots":
                body += path(points, dash=_dash(tone, series), width=1.6 if series.style == "dotted" else 2.2)
            if series.style in ("dots", "line+dots"):
                body += "".join(
                    f"<g>{symbol(tone, x, y)}<title>{html.escape(_told(self.chart, series, place))}</title></g>"
                    for place, (x, y) in enumerate(points)
                    if y is not None
                )
        return f'<g class="tone-{tone}">{body}{self._whiskers(series, points)}</g>'

    def _x(self, value: float | str, index: int) -> float:
        if not isinstance(value, str):
            return self.x.place(value)
        many = len(self.chart.series)
        step = (self.right - self.left) / len(self.chart.categories)
        beside = (index - (many - 1) / 2) / many * 0.7 * step
        return self.x.place(float(self.chart.categories.index(value))) + beside

    def _bars(self, tone: int, index: int, series: Series) -> str:
        step = (self.right - self.left) / max(len(self.chart.categories), 1)
        width = 0.66 * step / len(self.chart.series)
        hatch = f"hatch-{self.id}-{index}"
        fill = "var(--c)"
        parts = []
        if tone:
            slope = {1: "M0 8 L8 0", 2: "M4 3 v2", 3: "M0 0 L8 8 M8 0 L0 8"}[tone]
            parts.append(
                f'<defs><pattern id="{hatch}" width="8" height="8" patternUnits="userSpaceOnUse">'
                f'<rect width="8" height="8" fill="var(--c)"/><path d="{slope}" stroke="var(--fig-paper)" '
                f'stroke-width="1.5"/></pattern></defs>'
            )
            fill = f"url(#{hatch})"
        for place, (value, y) in enumerate(zip(series.x, series.y, strict=True)):
            if y is None:
                continue
            top, base = self.y.place(y), self.y.place(max(0.0, _span(self.chart, "y")[0]))
            parts.append(
                f'<rect x="{self._x(value, index) - width / 2:.1f}" y="{min(top, base):.1f}" width="{width:.1f}" '
                f'height="{abs(base - top):.1f}" fill="{fill}" stroke="var(--c)">'
                f"<title>{html.escape(_told(self.chart, series, place))}</title></rect>"
            )
        return "".join(parts)

    def _whiskers(self, series: Series, points: Sequence[tuple[float, float | None]]) -> str:
        stroke = "var(--fig-ink)" if series.style == "bars" else "var(--c)"
        parts = []
        for place, (x, y) in enumerate(points):
            if y is None:
                continue
            if series.low is not None and series.high is not None:
                low, high = series.low[place], series.high[place]
                if low is not None and high is not None and (low > 0 or not self.chart.log_y):
                    top, base = self.y.place(high), self.y.place(low)
                    parts.append(line(x, top, x, base, stroke=stroke, width=1.5))
                    parts += [line(x - 4, at, x + 4, at, stroke=stroke, width=1.5) for at in (top, base)]
            if series.x_low is not None and series.x_high is not None:
                low, high = series.x_low[place], series.x_high[place]
                if low is not None and high is not None and (low > 0 or not self.chart.log_x):
                    left, right = self.x.place(low), self.x.place(high)
                    parts.append(line(left, y, right, y, stroke=stroke, width=1.5))
                    parts += [line(at, y - 4, at, y + 4, stroke=stroke, width=1.5) for at in (left, right)]
        return "".join(parts)

    # marked places

    def _zone(self, low: float, high: float, text: str) -> str:
        ends = sorted((self.y.place(low), self.y.place(high)))
        top, base = max(ends[0], self.top), min(ends[1], self.bottom)
        return (
            f'<rect class="tone-2" x="{self.left:.1f}" y="{top:.1f}" width="{self.right - self.left:.1f}" '
            f'height="{max(base - top, 0):.1f}" fill="var(--c)" fill-opacity="0.14"/>'
            f"{line(self.left, top, self.right, top, stroke='var(--fig-ink)', width=1.4, dash='6 4')}"
            f"{words(self.right - 6, top - 6, text, anchor='end', css='halo')}"
        )

    def _mark_line(self, mark: Annotation) -> str:
        if mark.kind == "vertical" and mark.x is not None:
            at = self.x.place(mark.x)
            return line(at, self.top, at, self.bottom, stroke="var(--fig-ink)", width=1.4, dash="5 4")
        if mark.kind == "horizontal" and mark.y is not None:
            at = self.y.place(mark.y)
            return line(self.left, at, self.right, at, stroke="var(--fig-ink)", width=1.4, dash="5 4")
        return ""

    def _mark_words(self, mark: Annotation) -> str:
        across = 0.0 if mark.x is None else (self.x.place(mark.x) - self.left) / (self.right - self.left)
        anchor = "start" if across < _TURN else "end"
        if mark.kind == "vertical" and mark.x is not None:
            x, y = self.x.place(mark.x) + (6 if anchor == "start" else -6), self.top + 14.0
        elif mark.kind == "horizontal" and mark.y is not None:
            x, y = self.left + 6, self.y.place(mark.y) - 6
        elif mark.x is not None and mark.y is not None:
            x, y = self.x.place(mark.x) + (8 if anchor == "start" else -8), self.y.place(mark.y) - 14
        else:
            return ""
        room = (self.right - x) if anchor == "start" else (x - self.left)
        lines = _wrapped(mark.text, room)
        first = max(y - 15 * (len(lines) - 1) if mark.kind != "vertical" else y, self.top + 12)
        return "".join(words(x, first + 15 * row, part, anchor=anchor, css="halo") for row, part in enumerate(lines))


def _tone(index: int, series: Series) -> int:
    return (index if series.tone is None else series.tone) % len(TONES)


def _dash(tone: int, series: Series) -> str:
    return _DOTTED if series.style == "dotted" else _DASHES[tone]


def _told(chart: Chart, series: Series, place: int) -> str:
    """One point in words."""
    x, y = series.x[place], series.y[place]
    at = x if isinstance(x, str) else number(x)
    told = f"{series.name}, {at}: {'none' if y is None else number(y)}"
    if series.low is not None and series.high is not None:
        low, high = series.low[place], series.high[place]
        if low is not None and high is not None:
            told += f" [{number(low)}, {number(high)}]"
    return f"{told} {chart.y_title}" if len(chart.y_title) < 24 else told


def _span(chart: Chart, axis: str) -> tuple[float, float]:
    """Ends of an axis: every point, interval and mark, and some air."""
    if axis == "y" and chart.y_range is not None:
        return chart.y_range
    found: list[float | str | None] = [mark.x if axis == "x" else mark.y for mark in chart.annotations]
    for series in chart.series:
        columns = (series.x, series.x_low, series.x_high) if axis == "x" else (series.y, series.low, series.high)
        for column in columns:
            found += column or ()
    if axis == "y":
        found += [end for low, high, _ in chart.zones for end in (low, high)]
    log = chart.log_x if axis == "x" else chart.log_y
    values = [float(value) for value in found if isinstance(value, (int, float)) and (value > 0 or not log)]
    if not values:
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = min(values), max(values)
    if log:
        pad = _PAD * log10(high / low) or 0.3
        return low / 10**pad, high * 10**pad
    zero = axis == "y" and (chart.zero_y or any(series.style == "bars" for series in chart.series))
    pad = _PAD * (high - low) or abs(high) or 1.0
    return (min(0.0, low) if zero else low - pad), high + pad


def _axis(span: tuple[float, float], log: bool, ends: tuple[float, float]) -> _Axis:
    low, high = (log10(span[0]), log10(span[1])) if log else span
    start, stop = ends

    def place(value: float) -> float:
        at = log10(value) if log else value
        return start + (stop - start) * (at - low) / (high - low)

    return _Axis(place=place, ticks=_ticks(*span, log=log, room=abs(stop - start)))


def _ticks(low: float, high: float, *, log: bool, room: float) -> tuple[tuple[float, str], ...]:
    """Round values between the ends, few enough for the room."""
    most = max(int(room // 46), 3)
    if log:
        first, last = floor(log10(low)), math.ceil(log10(high))
        for steps in ((1, 2, 5), (1, 3), (1,)):
            values = [step * 10.0**power for power in range(first, last + 1) for step in steps]
            values = [value for value in values if low <= value <= high]
            if len(values) <= most:
                break
        values = values[:: math.ceil(len(values) / most)] if len(values) > most else values
    else:
        raw = (high - low) / most
        power = 10.0 ** floor(log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
        values = [step * index for index in range(math.ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]
    return tuple((value, number(value, 3)) for value in values)


def _wrapped(text: str, room: float) -> list[str]:
    """Words in lines that fit the room; a word longer than the room keeps a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and _LETTER * (len(lines[-1]) + 1 + len(word)) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
