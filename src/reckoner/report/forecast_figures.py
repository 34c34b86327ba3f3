"""Pictures of how good forecasts are: error and coverage over the hours, predictor by predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from reckoner.errors import InputError
from reckoner.report.chart import Annotation, Chart, Series, table_of


@dataclass(frozen=True, slots=True, kw_only=True)
class HourScore:
    """One predictor's score in one hour.

    Attributes
    ----------
    hour : str
        UTC hour, ``"2026-11-20T14"``.
    bias, mean_ape : float
        Mean signed and mean absolute error, as shares of the outcome.
    coverage : float or None
        Share of outcomes inside their interval.
    """

    hour: str
    n: int
    bias: float
    mean_ape: float
    coverage: float | None


def drift_chart(hours: Mapping[str, Sequence[HourScore]]) -> Chart:
    """Chart of the bias in each hour: a step away from zero is a change that was not yet learned."""
    first = _first(hours)
    title = f"hours since {first}:00 UTC"
    series = []
    for predictor in sorted(hours):
        rows = hours[predictor]
        series.append(
            Series(
                name=predictor,
                x=tuple(_hours(first, row.hour) for row in rows),
                y=tuple(100 * row.bias for row in rows),
                style="line+dots",
            )
        )
    return Chart(
        name="drift",
        title="Bias of forecasts by hour",
        x_title=title,
        y_title="bias [% of outcome]",
        series=tuple(series),
        caption=(
            "Mean signed error of each predictor's forecasts by hour of the outcome; above zero the forecasts were too "
            "high. A step that decays is a change that was learned."
        ),
        table=table_of(title, series),
    )


def coverage_chart(hours: Mapping[str, Sequence[HourScore]], *, level: float) -> Chart:
    """Chart of the share of outcomes inside their interval in each hour, against the level that was promised."""
    first = _first(hours)
    title = f"hours since {first}:00 UTC"
    series = []
    for predictor in sorted(hours):
        rows = [row for row in hours[predictor] if row.coverage is not None]
        if rows:
            series.append(
                Series(
                    name=predictor,
                    x=tuple(_hours(first, row.hour) for row in rows),
                    y=tuple(None if row.coverage is None else 100 * row.coverage for row in rows),
                    style="line+dots",
                )
            )
    if not series:
        raise InputError("no forecast has an interval, so there is no coverage to draw; draw the drift alone")
    return Chart(
        name="coverage",
        title="Outcomes inside their interval by hour",
        x_title=title,
        y_title="inside [% of outcomes]",
        series=tuple(series),
        caption=(
            f"Share of outcomes inside the interval that was forecast, by hour, against the promised {100 * level:g}%. "
            "Below the line the intervals were too narrow, above it wider than they had to be."
        ),
        table=table_of(title, series),
        annotations=(Annotation(text=f"promised {100 * level:g}%", y=100 * level),),
        y_range=(0.0, 105.0),
    )


def _first(hours: Mapping[str, Sequence[HourScore]]) -> str:
    found = [row.hour for rows in hours.values() for row in rows]
    if not found:
        raise InputError("no forecast has met its outcome yet, so there is nothing to draw; record outcomes first")
    return min(found)


def _hours(first: str, hour: str) -> float:
    return (datetime.fromisoformat(hour) - datetime.fromisoformat(first)).total_seconds() / 3600
