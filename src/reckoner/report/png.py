"""A chart drawn as PNG: same chart and library versions, same bytes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reckoner.errors import MissingExtraError
from reckoner.files import write_atomic
from reckoner.report.chart import Annotation, Chart, Series
from reckoner.report.tables import number
from reckoner.report.theme import FONT, GRID_LIGHT, INK_LIGHT, MANY_TICKS, PAPER_LIGHT, PNG_DPI, PNG_SIZE_IN, tone

_LETTERS = 80  # fit side by side under the axis at this size and font: tried
_DODGE = 0.8  # share of a category's width that its series fill together: our own choice


def to_png(chart: Chart, path: str | Path) -> Path:
    """Draw ``chart`` and write it to ``path``, whole or not at all.

    The file carries no date and no version, and the fonts are those that ship with matplotlib, so that drawing the
    same chart again gives the same bytes.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    ReckonerError
        The file cannot be written.
    """
    return write_atomic(path, png_bytes(chart))


def png_bytes(chart: Chart) -> bytes:
    """Draw ``chart`` and return the PNG file's bytes."""
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise MissingExtraError.of("matplotlib", "report") from error

    with mpl.rc_context():
        mpl.rcdefaults()  # a person's own matplotlibrc must not change the record
        mpl.rcParams.update(_rc())
        figure = Figure(figsize=PNG_SIZE_IN, dpi=PNG_DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw(axes, chart)
        if len(chart.series) > 1:
            figure.legend(loc="outside lower center", ncols=_legend_columns(chart.series), frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _rc() -> dict[str, Any]:
    return {
        "font.family": FONT,
        "font.size": 11,
        "axes.titlesize": 13,
        "axes.titleweight": "bold",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": INK_LIGHT,
        "axes.labelcolor": INK_LIGHT,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID_LIGHT,
        "grid.linewidth": 0.8,
        "text.color": INK_LIGHT,
        "xtick.color": INK_LIGHT,
        "ytick.color": INK_LIGHT,
        "figure.facecolor": PAPER_LIGHT,
        "hatch.linewidth": 0.8,
    }


def _legend_columns(series: Sequence[Series]) -> int:
    longest = max(len(one.name) for one in series)
    fit = max(1, 90 // (longest + 8))
    rows = -(-len(series) // fit)
    return -(-len(series) // rows)


def _draw(axes: Any, chart: Chart) -> None:
    """Put everything on the axes; scales first, because limits and ticks follow from them."""
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
    for index, series in enumerate(chart.series):
        _draw_series(axes, chart, series, index)
    axes.set_title(chart.title, loc="left", wrap=True)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    if chart.y_range is not None:
        axes.set_ylim(*chart.y_range)
    elif chart.zero_y and not chart.log_y:
        axes.set_ylim(bottom=0)
    _ticks(axes, chart)
    for low, high, text in chart.zones:
        axes.axhspan(low, high, color=tone(2).light, alpha=0.14, linewidth=0)
        axes.annotate(text, xy=(0.99, high), xycoords=("axes fraction", "data"), ha="right", va="top", fontsize=9)
    for annotation in chart.annotations:
        _annotate(axes, chart, annotation)


def _positions(chart: Chart, series: Series, index: int) -> tuple[list[float], float]:
    """Where the points stand on x, and the width of a bar; series over one category stand side by side."""
    categories = chart.categories
    if not categories:
        return [float(x) for x in series.x], 0.0
    width = _DODGE / len(chart.series)
    shift = (index - (len(chart.series) - 1) / 2) * width
    return [categories.index(str(x)) + shift for x in series.x], width


def _draw_series(axes: Any, chart: Chart, series: Series, index: int) -> None:
    look = tone(index if series.tone is None else series.tone)
    positions, width = _positions(chart, series, index)
    heights = [float("nan") if y is None else y for y in series.y]
    if series.style == "bars":
        axes.bar(
            positions,
            heights,
            width=0.92 * (width or 0.8),
            color=look.light,
            edgecolor=PAPER_LIGHT,
            hatch=look.hatch,
            label=series.name,
        )
    else:
        axes.plot(
            positions,
            heights,
            color=look.light,
            linestyle={"dots": "none", "dotted": ":"}.get(series.style, look.mpl_dash),
            linewidth=1.6 if series.style == "dotted" else 2.0,
            marker=look.mpl_symbol if "dots" in series.style else "none",
            markersize=6,
            label=series.name,
        )
    spans = {
        "yerr": _spans(series.y, series.low, series.high),
        "xerr": _spans(series.x, series.x_low, series.x_high),
    }
    if any(span is not None for span in spans.values()):
        axes.errorbar(
            positions,
            heights,
            **spans,
            fmt="none",
            ecolor=INK_LIGHT if series.style == "bars" else look.light,
            elinewidth=1.4,
            capsize=4,
        )


def _spans(
    middle: Sequence[float | str | None],
    low: Sequence[float | None] | None,
    high: Sequence[float | None] | None,
) -> list[list[float]] | None:
    """Distances from the middle down to low and up to high; zero where there is no interval."""
    if low is None or high is None:
        return None
    pairs = list(zip(middle, low, high, strict=True))
    return [
        [max(m - lo, 0.0) if isinstance(m, float) and lo is not None else 0.0 for m, lo, _ in pairs],
        [max(hi - m, 0.0) if isinstance(m, float) and hi is not None else 0.0 for m, _, hi in pairs],
    ]


def _ticks(axes: Any, chart: Chart) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    def plain(value: float, _: object = None) -> str:
        return number(value, 6)

    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    if chart.categories:
        axes.set_xlim(-0.55, len(chart.categories) - 0.45)
        room = max(_LETTERS // len(chart.categories), 1)
        names = [textwrap.fill(name, room, break_long_words=False) for name in chart.categories]
        axes.set_xticks(range(len(names)), names)
        axes.grid(visible=False, axis="x")
        if max(len(line) for name in names for line in name.splitlines()) > room:
            axes.tick_params(axis="x", rotation=30)
    elif chart.log_x:
        values = sorted({float(x) for series in chart.series for x in series.x})
        if len(values) <= MANY_TICKS:
            axes.set_xticks(values)
        axes.xaxis.set_minor_locator(NullLocator())
    if not chart.categories:
        axes.xaxis.set_major_formatter(FuncFormatter(plain))
    if chart.log_y:
        low, high = axes.get_ylim()
        if high / low < 1e3:
            axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _annotate(axes: Any, chart: Chart, annotation: Annotation) -> None:
    left = annotation.x is None or chart.across(annotation.x) < 0.65  # else the words would leave the picture
    line = {"color": INK_LIGHT, "linewidth": 1.2, "linestyle": (0, (4.0, 2.0))}
    box = {"boxstyle": "round,pad=0.25", "facecolor": PAPER_LIGHT, "edgecolor": "none", "alpha": 0.85}
    if annotation.kind == "vertical":
        axes.axvline(annotation.x, **line)
        axes.annotate(
            annotation.text,
            xy=(annotation.x, 0.98),
            xycoords=("data", "axes fraction"),
            xytext=(5 if left else -5, 0),
            textcoords="offset points",
            ha="left" if left else "right",
            va="top",
            fontsize=10,
            bbox=box,
        )
    elif annotation.kind == "horizontal":
        axes.axhline(annotation.y, **line)
        axes.annotate(
            annotation.text,
            xy=(0.01, annotation.y),
            xycoords=("axes fraction", "data"),
            xytext=(0, 4),
            textcoords="offset points",
            fontsize=10,
            bbox=box,
        )
    else:
        axes.annotate(
            annotation.text,
            xy=(annotation.x, annotation.y),
            xytext=(14 if left else -14, 18),
            textcoords="offset points",
            ha="left" if left else "right",
            fontsize=10,
            bbox=box,
            arrowprops={"arrowstyle": "->", "color": INK_LIGHT},
        )
