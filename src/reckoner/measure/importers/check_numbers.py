"""Stated statistics against the requests they are made of, and against what so many requests can tell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from reckoner.measure.importers.findings import Finding, bracket, ms, off, plural
from reckoner.measure.importers.imported import METRICS, TIMES, Imported
from reckoner.quantiles import needed

SAME = 0.005
"""Relative distance of a stated mean from the requests' own that is rounding. Assumption."""


def check_numbers(run: Imported) -> Iterator[Finding]:
    """Try every law of this module."""
    yield from recomputed(run)
    yield from within(run)
    yield from carried(run)
    yield from empty_answers(run)
    yield from thin(run)


def recomputed(run: Imported) -> Iterator[Finding]:
    """Mean and percentiles again, from the requests; percentiles must lie between neighbouring order statistics."""
    if run.completed is not None and len(run.succeeded) != run.completed:
        return  # a sample of the requests, or a cut file
    for metric in METRICS:
        told, values = run.statistics.get(metric), run.values(metric)
        if told is None or not values.size or (told.n is not None and told.n != values.size):
            continue
        true = float(values.mean())
        if told.weighted:
            weights = np.asarray([one.output_tokens or 0 for one in run.succeeded], dtype=np.float64)
            if weights.size != values.size or np.unique(weights).size > 1:
                continue
        unit = ms if metric in TIMES else "{:.4g}".format
        if told.mean is not None and off(told.mean, true) > SAME and abs(told.mean - true) > 1e-6:
            yield Finding(
                severity="error" if off(told.mean, true) > 0.05 else "warning",
                rule="summary",
                says=f"mean {told.stated_as} is stated as {unit(told.mean)}, the {values.size:,} values give "
                f"{unit(true)} "
                f"({off(told.mean, true):.1%} off)",
            )
        ordered = np.sort(values)
        for q, said in told.percentiles:
            low, high = bracket(ordered, q)
            if said < low * (1 - SAME) - 1e-6 or said > high * (1 + SAME) + 1e-6:
                yield Finding(
                    severity="error",
                    rule="summary",
                    says=f"p{100 * q:g} of {told.stated_as} is stated as {unit(said)}, the {values.size:,} "
                    f"values put it "
                    f"between {unit(low)} and {unit(high)}",
                )


def within(run: Imported) -> Iterator[Finding]:
    """Percentiles rise, and nothing lies outside smallest and largest."""
    for told in run.statistics.values():
        figures = [value for _, value in told.percentiles]
        ends = (told.least, told.most)
        rising = [*([ends[0]] if ends[0] is not None else []), *figures, *([ends[1]] if ends[1] is not None else [])]
        falls = [(one, two) for one, two in itertools.pairwise(rising) if two < one * (1 - 1e-9) - 1e-12]
        outside = told.mean is not None and (
            (ends[0] is not None and told.mean < ends[0] * (1 - 1e-6))
            or (ends[1] is not None and told.mean > ends[1] * (1 + 1e-6))
        )
        if falls or outside:
            seen = f"{falls[0][0]:.4g} before {falls[0][1]:.4g}" if falls else f"a mean of {told.mean:.4g}"
            yield Finding(
                severity="error",
                rule="percentiles",
                says=f"{told.stated_as} has {seen} between its smallest and largest: these are not figures of "
                f"one sample",
            )


def carried(run: Imported) -> Iterator[Finding]:
    """Percentiles that so few requests cannot bound."""
    n = run.n()
    if not n:
        return
    stated = {q for name, told in run.statistics.items() if name in TIMES for q, _ in told.percentiles}
    beyond = sorted(q for q in stated if q > 0.5 and n < needed(q))
    if beyond:
        top = beyond[-1]
        yield Finding(
            severity="warning",
            rule="percentile-n",
            says=f"{', '.join(f'p{100 * q:g}' for q in beyond)} from {plural(n, 'request')}: no upper bound can "
            f"be given; "
            f"p{100 * top:g} needs {needed(top):,}",
        )


def empty_answers(run: Imported) -> Iterator[Finding]:
    """Successes without a token: they have no first token and no rate."""
    values = run.values("output_tokens")
    told = run.statistics.get("output_tokens")
    if values.size and run.tool != "llama-bench":
        none = int((values == 0).sum())
        if none:
            yield Finding(
                severity="warning",
                rule="empty-answers",
                says=f"{plural(none, 'success')} of {values.size:,} have no token: they count as fast although "
                f"they failed"
                if none != 1
                else f"1 success of {values.size:,} has no token: it counts as fast although it failed",
            )
    elif told is not None and told.least == 0 and run.tool != "llama-bench":
        yield Finding(
            severity="warning",
            rule="empty-answers",
            says=f"the shortest of {run.completed or told.n or 0:,} successes has 0 tokens: answers that failed "
            f"count as "
            "successes",
        )


def thin(run: Imported) -> Iterator[Finding]:
    """What could not be tried because the file does not hold it."""
    if not run.requests:
        yield Finding(
            severity="note",
            rule="no-requests",
            says="the file states statistics only: each request's own figures could not be tried",
        )
    elif run.completed is not None and len(run.succeeded) < run.completed:
        yield Finding(
            severity="note",
            rule="sample",
            says=f"the file holds {plural(len(run.succeeded), 'request')} of {run.completed:,}: its statistics "
            f"could not "
            "be recomputed",
        )
