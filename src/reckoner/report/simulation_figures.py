"""Figures of a simulation: load over time, and the distribution of what requests saw."""

from __future__ import annotations

import numpy as np

from reckoner.report.chart import Chart, Series, table_of
from reckoner.simulate.outcome import Outcome
from reckoner.simulate.simulation import Simulation

_POINTS = 200


def load_chart(found: Outcome) -> Chart:
    """Draw the requests that are worked on and that wait, over time."""
    series = found.series
    keep = _thinned(len(series))
    time_s = tuple(series.time_s[keep].tolist())
    lines = (
        Series(name="in a step", x=time_s, y=tuple(series.sequences[keep].tolist())),
        Series(name="waiting", x=time_s, y=tuple(series.waiting[keep].tolist())),
    )
    full = f", the cache at most {series.kv_share.max():.0%} full" if found.server.kv_tokens is not None else ""
    return Chart(
        name="load",
        title=f"{found.server.name}; {found.load}",
        x_title="time [s]",
        y_title="requests",
        series=lines,
        caption=f"Steps took {series.utilisation.mean():.0%} of the time{full}; {found.preemptions:,} preemptions.",
        table=table_of("time [s]", lines),
    )


def latency_chart(found: Simulation) -> Chart:
    """Draw the quantiles of each latency, up to the largest that the requests bound."""
    n = len(found)
    most = max(0.5, 1.0 - 3.0 / n)  # ln 0.05 is -3: beyond it a quantile has no upper bound
    quantiles = 1.0 - np.geomspace(0.5, 1.0 - most, 40) if most > 0.5 else np.array([0.5])
    lines = tuple(
        Series(
            name=name,
            x=tuple((100.0 * quantiles).tolist()),
            y=tuple(np.quantile(found.latency_s(metric), quantiles, method="inverted_cdf").tolist()),
        )
        for metric, name in (("ttft", "first token"), ("e2e", "whole request"))
    )
    return Chart(
        name="latencies",
        title=f"Latency by percentile: {found.server.name}",
        x_title="percentile",
        y_title="time [s]",
        series=lines,
        caption=f"{n:,} requests; {found.arrivals.name}.",
        table=table_of("percentile", lines),
        log_y=True,
    )


def _thinned(n: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.unique(np.linspace(0, n - 1, min(n, _POINTS)).astype(np.intp))
