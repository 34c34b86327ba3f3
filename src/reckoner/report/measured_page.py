"""One measured run as a page that opens offline: latencies, their distributions, and what was seen over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from reckoner.measure.metrics import DEFINITIONS, latency_s
from reckoner.measure.session import METRICS, Measured
from reckoner.report.chart import Chart, Series, table_of
from reckoner.report.page import Section, page
from reckoner.report.tables import Cell, Estimate, Table

_BINS = 40


def measured_page(found: Measured, document: Mapping[str, Any]) -> str:
    """Write the page.

    Parameters
    ----------
    found : Measured
        The run.
    document : mapping
        What the command line prints as JSON; shown as the manifest.

    Raises
    ------
    MissingExtraError
        plotly is not installed.
    """
    charts = [chart for metric in METRICS if (chart := histogram(found, metric)) is not None]
    time = over_time(found)
    sections = [
        Section(title="Latencies", parts=(latency_table(found), *charts)),
        Section(title="Over time", parts=() if time is None else (time,)),
        Section(
            title="Definitions", parts=(Table(headers=("Latency", "What it is"), rows=tuple(DEFINITIONS.items())),)
        ),
    ]
    lead = f"{found.answered} of {len(found.records)} requests answered by {document.get('endpoint', 'the server')}."
    return page("A measured run", lead, sections, manifest=document)


def latency_table(found: Measured) -> Table:
    """Mean and percentiles with intervals; what is refused says why."""
    rows: list[tuple[Cell, ...]] = []
    for metric, told in found.latencies.items():
        why = found.refused(metric)
        if why:
            rows.append((metric, f"refused: {why}", None, None, None, told.mean.n))
            continue
        mean = told.mean
        first: Cell = mean.value
        if mean.low is not None and mean.high is not None:
            first = Estimate(value=mean.value, low=mean.low, high=mean.high)
        tails = [told.percentiles[q].value if q in told.percentiles else None for q in (0.5, 0.9, 0.99)]
        rows.append((metric, first, *tails, mean.n))
    return Table(headers=("Latency [s]", "Mean [90 %]", "P50", "P90", "P99", "n"), rows=tuple(rows))


def histogram(found: Measured, metric: str) -> Chart | None:
    """Distribution of a latency; None where it is refused or nobody has it."""
    values = latency_s(found.records, metric)
    values = values[values > 0.0]
    if len(values) < 2 or found.refused(metric):
        return None
    counts, edges = np.histogram(values * 1e3, bins=min(_BINS, len(values)))
    middles = tuple(float(x) for x in (edges[:-1] + edges[1:]) / 2.0)
    series = (Series(name=metric, x=middles, y=tuple(float(c) for c in counts), style="line"),)
    return Chart(
        name=f"histogram-{metric.replace('_', '-')}",
        title=f"{metric} of all answered requests",
        x_title=f"{metric} [ms]",
        y_title="count",
        series=series,
        caption=f"{len(values):,} values; {DEFINITIONS[metric]}.",
        table=table_of(f"{metric} [ms]", series),
        zero_y=True,
    )


def over_time(found: Measured) -> Chart | None:
    """Time to first token by time of sending; None where nothing was answered."""
    whole = [r for r in found.records if r.whole and r.sent_s is not None]
    if not whole:
        return None
    whole.sort(key=lambda r: (r.sent_s, r.index))
    kept = [whole[i] for i in sorted({int(i) for i in np.linspace(0, len(whole) - 1, 500)})]
    sent = tuple(float(r.sent_s) for r in kept if r.sent_s is not None)
    ttft = tuple(1e3 * float(v) for v in latency_s(kept, "ttft"))
    series = (Series(name="TTFT", x=sent, y=ttft, style="dots"),)
    return Chart(
        name="over-time",
        title="Time to first token over the run",
        x_title="sent [s]",
        y_title="TTFT [ms]",
        series=series,
        caption=f"Figures count from {found.steady_from_s:.3g} s on, where the run is steady.",
        table=table_of("sent [s]", series),
        zero_y=True,
    )
