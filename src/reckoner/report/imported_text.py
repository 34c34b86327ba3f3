"""Imported runs, their findings and comparisons in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reckoner.measure.importers.findings import ms
from reckoner.measure.importers.imported import TIMES, Imported

if TYPE_CHECKING:
    from reckoner.measure.compare import Comparison, Difference
    from reckoner.measure.importers.findings import Finding

WORDS = {
    "ttft_s": "time to first token",
    "tpot_s": "time per output token",
    "itl_s": "gap between chunks",
    "e2e_s": "whole request",
    "normalised_tpot_s": "whole request per token",
    "output_tokens_per_s": "output tokens per second",
    "requests_per_s": "requests per second",
}
STATISTIC_COLUMNS = ("", "n", "mean", "median", "p90", "p99", "named in the file")


def headline(run: Imported) -> str:
    """What a run is, in one line."""
    said = [f"{run.tool}{'' if run.version is None else f' {run.version}'}"]
    said += [part for part in (run.model, None if run.device is None else f"on {run.device}", run.engine) if part]
    said.append(f"{len(run.requests):,} requests in the file" if run.requests else "statistics alone")
    if run.completed is not None:
        said.append(f"{run.completed:,} completed, {run.failed or 0:,} failed")
    rate = run.load.requests_per_s
    if rate is not None:
        said.append("all sent at once" if math.isinf(rate) else f"{rate:g} requests/s asked")
    if run.load.concurrency is not None:
        said.append(f"at most {run.load.concurrency:,} under way")
    if run.duration_s is not None:
        said.append(f"{run.duration_s:.4g} s")
    return f"{run.name}: {', '.join(said)}"


def statistic_rows(run: Imported) -> list[list[str]]:
    """A row a latency: as stated, else of the requests themselves."""
    found = []
    for metric in TIMES:
        told, values = run.statistics.get(metric), run.values(metric)
        if told is not None:
            figures = [told.mean, *(told.at(q) for q in (0.5, 0.9, 0.99))]
            count, name = told.n, told.stated_as
        elif values.size:
            import numpy as np

            figures = [float(values.mean()), *(float(np.quantile(values, q)) for q in (0.5, 0.9, 0.99))]
            count, name = int(values.size), "(from the requests)"
        else:
            continue
        cells = ["" if value is None else ms(value) for value in figures]
        found.append([WORDS[metric], "" if count is None else f"{count:,}", *cells, name])
    return found


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """One line a finding; one line that says so where there is none."""
    return [str(one) for one in findings] or ["every law that could be tried holds"]


COMPARISON_COLUMNS = ("", "A", "B", "change", "95% interval", "smallest to be seen", "verdict")


def comparison_rows(found: Comparison) -> list[list[str]]:
    """A row a figure."""
    return [
        [
            metric_words(one.metric),
            show_value(one.metric, one.a),
            show_value(one.metric, one.b),
            "" if one.change is None else f"{one.change:+.1%}",
            _interval(one),
            "" if one.smallest is None or not one.a else f"{one.smallest / one.a:.1%}",
            verdict(one),
        ]
        for one in found.differences
    ]


def verdict(one: Difference) -> str:
    """What the interval allows to say.

    Returns
    -------
    str
        "no difference seen", "B is faster", "B is slower", or that nothing can be said.
    """
    if one.seen is None:
        return one.method
    if not one.seen:
        return "no difference seen"
    return "B is slower" if (one.worse or 0.0) > 0 else "B is faster"


def comparison_words(found: Comparison) -> str:
    """How the two were compared."""
    methods = list(dict.fromkeys(one.method for one in found.differences if one.seen is not None))
    how = f"paired by {found.pairing}" if found.pairing else "requests do not answer each other one by one"
    return f"{how}; {'; '.join(methods)}" if methods else how


def _interval(one: Difference) -> str:
    if one.low is None or one.high is None or not one.a:
        return ""
    return f"{one.low / one.a:+.1%} to {one.high / one.a:+.1%}"


def metric_words(metric: str) -> str:
    """Name of a metric for people.

    >>> metric_words("ttft_s p99")
    'time to first token, p99'
    """
    name, _, tail = metric.partition(" ")
    return f"{WORDS[name]}{', ' + tail if tail else ''}"


def show_value(metric: str, value: float) -> str:
    """A time in milliseconds, a rate as it is."""
    return f"{value:,.4g}" if metric.endswith("per_s") else ms(value)
