"""A chart as an interactive figure inside a page: its data and layout as JSON, drawn by the page's one script."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from math import floor, log10
from typing import Any, Final, Literal

from reckoner.errors import MissingExtraError
from reckoner.report.chart import Annotation, Chart, Series
from reckoner.report.tables import number
from reckoner.report.theme import (
    GRID_DARK,
    GRID_LIGHT,
    INK_DARK,
    INK_LIGHT,
    MANY_TICKS,
    PAPER_DARK,
    PAPER_LIGHT,
    WEB_FONTS,
    tone,
)

_HATCHES: Final = {"": "", "//": "/", "..": ".", "xx": "x"}
_HEIGHT_PX: Final = 440
_TURN: Final = 0.65  # words right of this stand left of their line
_MARGIN: Final = 0.06  # empty share of an axis beyond its outermost point: our own choice

# Draws every figure of the page, again when the reader switches between light and dark.
DRAW_JS: Final = """\
(function () {
  var dark = window.matchMedia('(prefers-color-scheme: dark)');
  function draw() {
    document.querySelectorAll('script.figure').forEach(function (source) {
      var figure = JSON.parse(source.textContent)[dark.matches ? 'dark' : 'light'];
      Plotly.react(source.dataset.target, figure.data, figure.layout, {responsive: true, displayModeBar: false});
    });
  }
  draw();
  dark.addEventListener('change', draw);
})();
"""


def plotly_js() -> str:
    """The drawing library's own source (about 5 MB), to be inlined once per page.

    Raises
    ------
    MissingExtraError
        plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError.of("plotly", "report") from error
    source: str = get_plotlyjs()
    return source


def to_div(chart: Chart) -> str:
    """The HTML of one figure: an empty, labelled box and the JSON that the page's script draws into it.

    The page that takes it in must also hold :func:`plotly_js` and :data:`DRAW_JS`, each once
    (:func:`reckoner.report.page.page` does).
    """
    target = f"plot-{chart.name}"
    looks = {"dark": figure(chart, dark=True), "light": figure(chart)}
    # "<" is escaped so that no text in a chart can close the script element.
    content = json.dumps(looks, sort_keys=True, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    label = html.escape(f"{chart.title}. {chart.caption}", quote=True)
    return (
        f'<div class="plot" id="{html.escape(target, quote=True)}" role="img" aria-label="{label}"></div>\n'
        f'<script type="application/json" class="figure" data-target="{html.escape(target, quote=True)}">'
        f"{content}</script>"
    )


def figure(chart: Chart, *, dark: bool = False) -> dict[str, Any]:
    """The figure as Plotly's own JSON: ``{"data": [...], "layout": {...}}``."""
    return {
        "data": [_trace(chart, series, index, dark) for index, series in enumerate(chart.series)],
        "layout": _layout(chart, dark),
    }


def _trace(chart: Chart, series: Series, index: int, dark: bool) -> dict[str, Any]:
    look = tone(index if series.tone is None else series.tone)
    colour = look.dark if dark else look.light
    trace: dict[str, Any] = {"name": series.name, "x": list(series.x), "y": list(series.y)}
    if series.style == "bars":
        trace |= {
            "type": "bar",
            "marker": {
                "color": colour,
                "pattern": {
                    "shape": _HATCHES[look.hatch],
                    "bgcolor": colour,
                    "fgcolor": PAPER_DARK if dark else PAPER_LIGHT,
                    "size": 8,
                },
            },
        }
    else:
        modes = {"dots": "markers", "line+dots": "lines+markers"}
        trace |= {
            "type": "scatter",
            "mode": modes.get(series.style, "lines"),
            "marker": {"color": colour, "symbol": look.plotly_symbol, "size": 10},
            "line": {
                "color": colour,
                "dash": "dot" if series.style == "dotted" else look.plotly_dash,
                "width": 1.8 if series.style == "dotted" else 2.2,
            },
        }
        if chart.categories:
            trace["offsetgroup"] = str(index)
    whisker = {"color": (INK_DARK if dark else INK_LIGHT) if series.style == "bars" else colour, "thickness": 1.5}
    for axis, middle, low, high in (
        ("error_y", series.y, series.low, series.high),
        ("error_x", series.x, series.x_low, series.x_high),
    ):
        if low is not None and high is not None:
            trace[axis] = _error(middle, low, high) | whisker
    return trace


def _error(
    middle: Sequence[float | str | None], low: Sequence[float | None], high: Sequence[float | None]
) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [
            max(hi - m, 0.0) if isinstance(m, float) and hi is not None else 0.0
            for m, hi in zip(middle, high, strict=True)
        ],
        "arrayminus": [
            max(m - lo, 0.0) if isinstance(m, float) and lo is not None else 0.0
            for m, lo in zip(middle, low, strict=True)
        ],
    }


def _layout(chart: Chart, dark: bool) -> dict[str, Any]:
    ink, grid = (INK_DARK, GRID_DARK) if dark else (INK_LIGHT, GRID_LIGHT)
    axis = {"gridcolor": grid, "linecolor": ink, "zerolinecolor": grid, "automargin": True, "ticks": "outside"}
    axis |= {"separatethousands": True, "exponentformat": "none"}
    x: dict[str, Any] = axis | {"title": {"text": chart.x_title, "standoff": 14}}
    y: dict[str, Any] = axis | {"title": {"text": chart.y_title, "standoff": 14}}
    if chart.categories:
        x |= {"type": "category", "categoryarray": list(chart.categories), "categoryorder": "array"}
    else:
        x |= _axis(_numbers(chart, "x"), log=chart.log_x)
        if chart.log_x:
            values = sorted({float(x) for series in chart.series for x in series.x})
            if len(values) <= MANY_TICKS:
                x |= {"tickvals": values, "ticktext": [number(value, 6) for value in values]}
    if chart.y_range is not None:
        y["range"] = [log10(end) if chart.log_y else end for end in chart.y_range]
        y["type"] = "log" if chart.log_y else "linear"
    elif chart.zero_y or any(series.style == "bars" for series in chart.series):
        y["rangemode"] = "tozero"
    else:
        y |= _axis(_numbers(chart, "y"), log=chart.log_y)
    marks = [_mark(annotation, chart, ink, dark) for annotation in chart.annotations]
    marks += [_zone(zone, chart, dark) for zone in chart.zones]
    return {
        "height": _HEIGHT_PX,
        "autosize": True,
        "font": {"family": WEB_FONTS, "size": 13, "color": ink},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 12, "r": 12, "t": 16, "b": 12},
        "showlegend": len(chart.series) > 1,
        # Above the plot: below it, long tick names would turn and run into the legend on a narrow screen.
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "barmode": "group",
        # Beside each other over a category; on a numeric axis a point stands where its number is.
        **({"scattermode": "group", "scattergap": 0.4} if chart.categories else {}),
        "hoverlabel": {"font": {"family": WEB_FONTS}},
        "xaxis": x,
        "yaxis": y,
        "annotations": [mark["annotation"] for mark in marks],
        "shapes": [mark["shape"] for mark in marks if "shape" in mark],
    }


def _numbers(chart: Chart, axis: Literal["x", "y"]) -> list[float]:
    """Every number that an axis must hold: points, ends of intervals, annotations."""
    found: list[float | str | None] = [mark.x if axis == "x" else mark.y for mark in chart.annotations]
    if axis == "y":
        found += [end for low, high, _ in chart.zones for end in (low, high)]
    for series in chart.series:
        columns = (series.x, series.x_low, series.x_high) if axis == "x" else (series.y, series.low, series.high)
        for column in columns:
            found += column or ()
    return [value for value in found if isinstance(value, (int, float))]


def _axis(values: Sequence[float], *, log: bool) -> dict[str, Any]:
    """Type, range and ticks of a numeric axis, so that points and whiskers never touch the frame."""
    if log:
        values = [value for value in values if value > 0]
    if not values:
        return {}
    low, high = (log10(min(values)), log10(max(values))) if log else (min(values), max(values))
    margin = _MARGIN * (high - low) or (0.3 if log else abs(high) or 1.0)
    span = {"type": "log" if log else "linear", "range": [low - margin, high + margin]}
    if not log:
        return span
    steps = (1, 2, 5) if high - low < 3 else (1,)
    ticks = [step * 10.0**power for power in range(floor(low) - 1, floor(high) + 2) for step in steps]
    return span | {"tickvals": ticks, "ticktext": [number(tick, 3) for tick in ticks]}


def _zone(zone: tuple[float, float, str], chart: Chart, dark: bool) -> dict[str, Any]:
    """The band and the words of one zone."""
    low, high, text = zone
    colour = tone(2).dark if dark else tone(2).light
    shape = {"type": "rect", "x0": 0, "x1": 1, "xref": "paper", "y0": low, "y1": high, "yref": "y", "layer": "below"}
    shape |= {"fillcolor": colour, "opacity": 0.14, "line": {"width": 0}}
    words = {"text": html.escape(text), "showarrow": False, "x": 1, "xref": "paper", "xanchor": "right"}
    words |= {"y": log10(high) if chart.log_y else high, "yref": "y", "yanchor": "top"}
    return {"annotation": words, "shape": shape}


def _mark(annotation: Annotation, chart: Chart, ink: str, dark: bool) -> dict[str, Any]:
    """The shape (a line) and the words of one annotation; on log axes words are placed by exponent."""
    words: dict[str, Any] = {
        "text": html.escape(annotation.text),
        "showarrow": annotation.kind == "point",
        "font": {"color": ink, "size": 12},
        "bgcolor": PAPER_DARK if dark else PAPER_LIGHT,
        "opacity": 0.9,
    }
    line = {"color": ink, "width": 1.4, "dash": "dash"}
    at_x = None if annotation.x is None else log10(annotation.x) if chart.log_x else annotation.x
    at_y = None if annotation.y is None else log10(annotation.y) if chart.log_y else annotation.y
    if annotation.kind == "vertical":
        side = "left" if chart.across(annotation.x or 0.0) < _TURN else "right"
        words |= {"x": at_x, "xref": "x", "xanchor": side, "y": 1, "yref": "paper", "yanchor": "top"}
        ends = {"x0": annotation.x, "x1": annotation.x, "y0": 0, "y1": 1, "xref": "x", "yref": "paper"}
    elif annotation.kind == "horizontal":
        words |= {"x": 0, "xref": "paper", "xanchor": "left", "y": at_y, "yref": "y", "yanchor": "bottom"}
        ends = {"x0": 0, "x1": 1, "y0": annotation.y, "y1": annotation.y, "xref": "paper", "yref": "y"}
    else:
        lean = round(60 * (1 - 2 * chart.across(annotation.x or 0.0)))  # towards the middle, where there is room
        words |= {"x": at_x, "y": at_y, "xref": "x", "yref": "y", "ax": lean, "ay": -40, "arrowcolor": ink}
        return {"annotation": words}
    return {"annotation": words, "shape": {"type": "line", "line": line} | ends}
