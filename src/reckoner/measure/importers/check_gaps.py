"""What gaps between chunks can mean: as many as tokens, or packets that hold several."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reckoner.measure.importers.findings import Finding, ms, plural
from reckoner.measure.importers.imported import Imported

COALESCED = 0.2
"""Median gap over mean gap below which tokens came in bursts. Steady streams have over 0.9 (own runs, 2026-11-20)."""


def check_gaps(run: Imported) -> Iterator[Finding]:
    """Try both laws of this module."""
    yield from counts(run)
    yield from coalescing(run)


def counts(run: Imported) -> Iterator[Finding]:
    """N tokens have n - 1 gaps."""
    told = [
        (len(one.itl_s), one.output_tokens - 1) for one in run.succeeded if one.itl_s is not None and one.output_tokens
    ]
    if not told:
        return
    gaps, tokens = np.asarray(told).T
    few, many = gaps < tokens, gaps > tokens
    if few.any():
        held = float((tokens[few] + 1).sum() / (gaps[few] + 1).sum())
        yield Finding(
            severity="warning",
            rule="gap-count",
            says=f"{plural(int(few.sum()), 'request')} of {gaps.size:,} have fewer gaps than tokens ({held:.3g} "
            f"tokens a "
            "chunk): their ITL is between chunks, not tokens (speculation, or packets that hold several)",
        )
    if many.any():
        over = int((gaps - tokens)[many].sum())
        yield Finding(
            severity="error",
            rule="gap-count",
            says=f"{plural(int(many.sum()), 'request')} of {gaps.size:,} have more gaps than tokens after the first "
            f"({over:,} too many): chunks without a token were counted, and ITL is too low",
        )


def coalescing(run: Imported) -> Iterator[Finding]:
    """A median gap far below the mean: most tokens arrive together with another."""
    values = run.values("itl_s")
    if values.size:
        mean, median, n = float(values.mean()), float(np.median(values)), int(values.size)
    else:
        told = run.statistics.get("itl_s")
        if told is None or told.mean is None or told.at(0.5) is None:
            return
        mean, median, n = told.mean, told.at(0.5) or 0.0, told.n or 0
    if mean <= 0 or median >= COALESCED * mean:
        return
    of = f" of {n:,} gaps" if n else ""
    yield Finding(
        severity="warning",
        rule="coalescing",
        says=f"median gap{of} is {ms(median)} but the mean {ms(mean)}: at least half of the chunks came together with "
        "another, so percentiles of ITL describe packets; use TPOT",
    )
