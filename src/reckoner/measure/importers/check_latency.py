"""Laws between the latencies of one run: they add up, come in order, and a first token costs a step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reckoner.measure.importers.findings import Finding, ms, off, plural
from reckoner.measure.importers.imported import Imported

SLACK_S = 1e-3
"""Residual that one request may have whatever its length. Assumption: two clock reads of an event loop lie so near."""
SLACK = 0.02
"""Relative residual that one request may have. Assumption: closing a stream takes less."""
MEANS = 0.10
"""Relative residual of means; a mean of products differs from the product of means. Assumption, seen below 0.04 where
clients are right."""
MEDIANS = 0.25
"""The same for medians, which need not add up at all."""
ROLE_S = 1e-3
"""A first token sooner than this is suspect: an empty role chunk arrives within 0.2-0.9 ms (2026-11-20, both vLLM
clients on chat)."""
ROLE_SHARE = 0.25
"""And one that took less than this share of a decode step. A prefill takes at least a step."""


def check_latency(run: Imported) -> Iterator[Finding]:
    """Try every law of this module."""
    yield from order(run)
    yield from identity_of_requests(run)
    yield from identity_of_statistics(run)
    yield from definition(run)
    yield from role_chunk(run)


def order(run: Imported) -> Iterator[Finding]:
    """E2E >= TTFT, in each request and in the means."""
    bad = [
        one
        for one in run.succeeded
        if one.ttft_s is not None and one.e2e_s is not None and one.ttft_s > one.e2e_s + SLACK_S
    ]
    if bad:
        one = bad[0]
        yield Finding(
            severity="error",
            rule="order",
            says=f"{plural(len(bad), 'request')} of {len(run.succeeded):,} end before their first token "
            f"(TTFT {ms(one.ttft_s or 0)} > E2E {ms(one.e2e_s or 0)}); a clock stepped or the columns are swapped",
        )
    ttft, e2e = run.statistics.get("ttft_s"), run.statistics.get("e2e_s")
    outputs = run.mean("output_tokens")
    if ttft is None or e2e is None or ttft.mean is None or e2e.mean is None:
        return
    if ttft.mean > e2e.mean * (1 + SLACK) + SLACK_S:
        yield Finding(
            severity="error",
            rule="order",
            says=f"mean TTFT {ms(ttft.mean)} exceeds mean E2E {ms(e2e.mean)}; the two are of different requests",
        )
    elif e2e.mean == ttft.mean and outputs is not None and outputs > 1:
        yield Finding(
            severity="error",
            rule="order",
            says=f"mean TTFT and mean E2E are both {ms(e2e.mean)} although answers have {outputs:,.0f} tokens; "
            "the answer was not streamed, or the figures are placeholders",
        )


def identity_of_requests(run: Imported) -> Iterator[Finding]:
    """TTFT + TPOT (n - 1) = E2E in each request, or TTFT + all gaps = E2E where gaps are all there is."""
    rests, ends = [], []
    gaps = False
    for one in run.succeeded:
        if one.ttft_s is None or one.e2e_s is None:
            continue
        if one.tpot_s is not None and one.output_tokens:
            told = one.ttft_s + one.tpot_s * (one.output_tokens - 1)
        elif one.itl_s is not None:
            told, gaps = one.ttft_s + sum(one.itl_s), True
        else:
            continue
        rests.append(told - one.e2e_s)
        ends.append(one.e2e_s)
    if not rests:
        return
    rest, end = np.asarray(rests), np.asarray(ends)
    wrong = np.abs(rest) > np.maximum(SLACK_S, SLACK * end)
    if not wrong.any():
        return
    middle = float(np.median(rest[wrong]))
    share = float(np.median(np.abs(rest[wrong]) / np.maximum(end[wrong], 1e-9)))
    name = "TTFT + all gaps" if gaps else "TTFT + TPOT (n - 1)"
    if middle < 0:
        means = "time after the last token counts as E2E, or gaps are lost"
    else:
        means = "gaps overlap or hold the first token as well"
    yield Finding(
        severity="error" if wrong.mean() > 0.5 or share > MEANS else "warning",
        rule="identity",
        says=f"{name} misses E2E in {plural(int(wrong.sum()), 'request')} of {rest.size:,}, by {middle * 1e3:+.3g} ms "
        f"({share:.0%}) in the middle; {means}",
    )


def identity_of_statistics(run: Imported) -> Iterator[Finding]:
    """The same between the stated means; between the medians where no means are stated, only as a warning."""
    told = {name: run.statistics.get(name) for name in ("ttft_s", "tpot_s", "e2e_s")}
    ttft, tpot, e2e = told["ttft_s"], told["tpot_s"], told["e2e_s"]
    n = run.mean("output_tokens")
    if ttft is None or tpot is None or e2e is None or n is None or n <= 1:
        return
    figures = [(one.mean, one.at(0.5)) for one in (ttft, tpot, e2e)]
    for index, (word, limit) in enumerate((("mean", MEANS), ("median", MEDIANS))):
        first, step, whole = (pair[index] for pair in figures)
        if first is None or step is None or whole is None:
            continue
        summed = first + step * (n - 1)
        missed = off(summed, whole)
        if missed > limit and abs(summed - whole) > SLACK_S:
            implied = max(whole - first, 0.0) / (n - 1)
            factor = f", {implied / step:.3g} times as long" if step > 0 < implied else ""
            yield Finding(
                severity="error" if word == "mean" else "warning",
                rule="identity",
                says=f"{word} TTFT {ms(first)} + TPOT {ms(step)} x ({n:.4g} - 1) = {ms(summed)}, but E2E is "
                f"{ms(whole)} "
                f"({missed:.0%} off); E2E and TTFT say {ms(implied)} a token{factor}",
            )
        return


def definition(run: Imported) -> Iterator[Finding]:
    """A rate per token that holds the wait for the first token but is called as if it did not."""
    told = run.statistics.get("normalised_tpot_s")
    if told is None or told.mean is None or "normalized" in told.stated_as:
        return
    ttft, e2e, n = run.mean("ttft_s"), run.mean("e2e_s"), run.mean("output_tokens")
    if ttft is None or e2e is None or n is None or n <= 1:
        return
    step = (e2e - ttft) / (n - 1)
    if step > 0 and off(told.mean, step) > 0.02:
        yield Finding(
            severity="warning",
            rule="definition",
            says=f"{told.stated_as} is {ms(told.mean)}, the whole answer over all tokens ({ms(e2e / n)}), first one "
            f"included; a step after the first token takes {ms(step)}",
        )


def role_chunk(run: Imported) -> Iterator[Finding]:
    """A first token cannot come sooner than a decode step takes."""
    values = run.values("ttft_s")
    told = run.statistics.get("ttft_s")
    if values.size:
        first: float | None = float(np.median(values))
    else:
        first = None if told is None else (told.at(0.5) if told.at(0.5) is not None else told.mean)
    step = run.mean("tpot_s")
    if first is None or step is None or not (first < ROLE_S and first < ROLE_SHARE * step):
        return
    next_gaps = [one.itl_s[0] for one in run.succeeded if one.itl_s]
    after = f"; with the next gap it would be {ms(first + float(np.median(next_gaps)))}" if next_gaps else ""
    yield Finding(
        severity="error",
        rule="role-chunk",
        says=f"median TTFT is {ms(first)}, less than {ROLE_SHARE:g} of a decode step of {ms(step)}: the client "
        f"stamped the "
        f"empty role chunk, not a token{after}",
    )
