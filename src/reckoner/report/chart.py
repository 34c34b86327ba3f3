"""A figure as data, drawn by ``png`` or ``plotly_figure``: what is shown, never how a library draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from reckoner.errors import InputError
from reckoner.report.tables import Cell, Table

Style = Literal["line", "dots", "line+dots", "dotted", "bars"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One named set of points.

    Parameters
    ----------
    x : sequence of float or str
        Positions; texts are categories, in the order in which they first appear.
    y : sequence of float or None
        Heights; None leaves a gap.
    low, high : sequence of float or None, optional
        Ends of the interval around each ``y``, both or neither.
    x_low, x_high : sequence of float or None, optional
        Ends of the interval around each ``x``, both or neither.
    tone : int, optional
        Which look of :mod:`~reckoner.report.theme`; by default the series' place in its chart. Give two series the
        same tone when they are two views of one thing (measured and theory).

    Raises
    ------
    InputError
        Lengths differ, a number is not finite, or one end of an interval is missing.
    """

    name: str
    x: tuple[float | str, ...]
    y: tuple[float | None, ...]
    style: Style = "line"
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None
    x_low: tuple[float | None, ...] | None = None
    x_high: tuple[float | None, ...] | None = None
    tone: int | None = None

    def __post_init__(self) -> None:
        """Check lengths and numbers; lists are kept as tuples."""
        if self.style not in get_args(Style):
            raise InputError(f"series {self.name!r}: style is {self.style!r}; use one of {', '.join(get_args(Style))}")
        for field in ("x", "y", "low", "high", "x_low", "x_high"):
            values = getattr(self, field)
            if values is None:
                continue
            kept = tuple(value if isinstance(value, str) or value is None else float(value) for value in values)
            object.__setattr__(self, field, kept)
            if len(kept) != len(self.x):
                raise InputError(
                    f"series {self.name!r}: {field} has {len(kept)} values for {len(self.x)} in x; give as many"
                )
            for index, value in enumerate(kept):
                if isinstance(value, float) and not math.isfinite(value):
                    raise InputError(f"series {self.name!r}: {field}[{index}] is {value}; use None for a gap")
        if (self.low is None) != (self.high is None) or (self.x_low is None) != (self.x_high is None):
            raise InputError(f"series {self.name!r}: one end of an interval is missing; give both ends or neither")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A marked place: a vertical line at ``x``, a horizontal line at ``y``, or a point at both.

    >>> Annotation(text="SLO 100 ms", y=0.1).kind
    'horizontal'
    """

    text: str
    x: float | None = None
    y: float | None = None

    def __post_init__(self) -> None:
        """Refuse an annotation that is nowhere."""
        if self.x is None and self.y is None:
            raise InputError(f"annotation {self.text!r} has neither x nor y; give one for a line, both for a point")

    @property
    def kind(self) -> Literal["vertical", "horizontal", "point"]:
        """What is drawn."""
        if self.x is None:
            return "horizontal"
        return "vertical" if self.y is None else "point"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A whole figure with the table of the numbers that it shows.

    Parameters
    ----------
    name : str
        Short ASCII name: the id on a page (``"latency"``).
    title, x_title, y_title : str
        What is shown, with units in the axis titles.
    caption : str
        One or two sentences that say what to see; also the text for people who cannot see it.
    table : Table
        The numbers behind the figure; :func:`table_of` makes it from the series.
    y_range : (float, float), optional
        Fixed ends of the y axis; by default the drawing library chooses.
    zero_y : bool
        Start the y axis at zero (bars always do).
    zones : sequence of (float, float, str)
        Bands from a low to a high y with their words: where values are meant to lie.
    """

    name: str
    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    caption: str
    table: Table
    log_x: bool = False
    log_y: bool = False
    annotations: tuple[Annotation, ...] = ()
    y_range: tuple[float, float] | None = None
    zero_y: bool = False
    zones: tuple[tuple[float, float, str], ...] = ()

    def __post_init__(self) -> None:
        """Check that there is something to draw and that log axes hold positive numbers only."""
        object.__setattr__(self, "series", tuple(self.series))
        object.__setattr__(self, "annotations", tuple(self.annotations))
        if not self.series:
            raise InputError(f"chart {self.name!r} has no series; give at least one")
        if not self.caption:
            raise InputError(f"chart {self.name!r} has no caption; say in a sentence what it shows")
        for series in self.series:
            if self.log_y:
                _refuse_non_positive(self.name, series, "y", series.y)
            if self.log_x:
                _refuse_non_positive(self.name, series, "x", series.x)
        for low, high, text in self.zones:
            if not low < high or (self.log_y and low <= 0):
                raise InputError(
                    f"chart {self.name!r}, zone {text!r}: {low} to {high} is no band of this axis; give low before "
                    "high, both above 0 on a logarithmic axis"
                )
        for mark in self.annotations:
            if (self.log_x and mark.x is not None and mark.x <= 0) or (
                self.log_y and mark.y is not None and mark.y <= 0
            ):
                raise InputError(
                    f"chart {self.name!r}, annotation {mark.text!r}: ({mark.x}, {mark.y}) is not above 0 "
                    "on a logarithmic axis; move it or use a linear axis"
                )

    @property
    def categories(self) -> tuple[str, ...]:
        """Category names along x in order of first appearance; empty on a numeric axis."""
        seen = dict.fromkeys(x for series in self.series for x in series.x if isinstance(x, str))
        return tuple(seen)

    def across(self, x: float) -> float:
        """Where ``x`` stands between the leftmost (0) and the rightmost (1) point, as the axis shows it."""
        values = [value for series in self.series for value in series.x if isinstance(value, float)]
        if not values or min(values) == max(values):
            return 0.5
        ends = (min(values), max(values), x)
        low, high, at = (math.log(end) for end in ends) if self.log_x else ends
        return min(max((at - low) / (high - low), 0.0), 1.0)


def _refuse_non_positive(chart: str, series: Series, axis: str, values: Sequence[float | str | None]) -> None:
    for index, value in enumerate(values):
        if isinstance(value, float) and value <= 0:
            raise InputError(
                f"chart {chart!r}, series {series.name!r}: {axis}[{index}] is {value} on a logarithmic axis; "
                "use None for a gap or a linear axis"
            )


def table_of(x_title: str, series: Sequence[Series]) -> Table:
    """The numbers behind a figure: one row per x, one column per series, in order of x's first appearance.

    >>> one = Series(name="with cache", x=(8, 16), y=(0.5, 0.6))
    >>> two = Series(name="without", x=(16,), y=(2.0,))
    >>> table_of("tokens", [one, two]).rows
    ((8, 0.5, None), (16, 0.6, 2.0))
    """
    positions: dict[float | str, None] = {}
    for one in series:
        positions.update(dict.fromkeys(one.x))
    headers = [x_title]
    columns: list[dict[float | str, Cell]] = []
    for one in series:
        headers.append(one.name)
        columns.append(dict(zip(one.x, one.y, strict=True)))
        if one.low is not None and one.high is not None:
            headers += [f"{one.name}, low", f"{one.name}, high"]
            columns += [dict(zip(one.x, one.low, strict=True)), dict(zip(one.x, one.high, strict=True))]
    rows = tuple((_whole(x), *(column.get(x) for column in columns)) for x in positions)
    return Table(headers=tuple(headers), rows=rows)


def _whole(value: float | str) -> float | int | str:
    """Token counts and the like read better without a fraction."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
