"""Predict, then learn: each request is forecast at launch and learned when it has finished."""

from __future__ import annotations

import heapq
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from validation.calibration.rivals import Rival
from validation.calibration.streams import Stream


class Scored(NamedTuple):
    """One request: relative error, whether the interval held it, and the log of the interval's width."""

    error: float
    hit: bool | None
    width: float | None


def replay(stream: Stream, rival: Rival) -> list[Scored]:
    """Score a forecaster on a stream."""
    scored: list[Scored] = []
    under_way: list[tuple[float, int, tuple[int, int, int, float]]] = []
    for i, request in enumerate(stream.requests):
        while under_way and request.launch_s is not None and under_way[0][0] <= request.launch_s:
            finish_s, _, outcome = heapq.heappop(under_way)
            rival.learn(*outcome, at=finish_s)
        in_flight = len(under_way)
        made = rival.predict(request.prompt_tokens, request.completion_tokens, in_flight, at=request.launch_s)
        error = abs(made.value - request.e2e_ms) / request.e2e_ms
        if made.low is None or made.high is None:
            scored.append(Scored(error, None, None))
        else:
            hit = made.low <= request.e2e_ms <= made.high
            scored.append(Scored(error, hit, math.log(made.high / made.low)))
        outcome = request.prompt_tokens, request.completion_tokens, in_flight, request.e2e_ms
        if request.finish_s is None:
            rival.learn(*outcome)
        else:
            heapq.heappush(under_way, (request.finish_s, i, outcome))
    return scored


def summary(scored: Sequence[Scored]) -> dict[str, Any]:
    """Mean and median relative error, the first five's, coverage and width of the 90 % interval."""
    errors = [s.error for s in scored]
    hits = [s.hit for s in scored if s.hit is not None]
    widths = [s.width for s in scored if s.width is not None]
    return {
        "n": len(errors),
        "mape": round(statistics.fmean(errors), 4),
        "median": round(statistics.median(errors), 4),
        "first_five": round(statistics.fmean(errors[:5]), 4),
        "coverage": round(statistics.fmean(hits), 4) if hits else None,
        "width": round(math.exp(statistics.fmean(widths)), 3) if widths else None,
    }


def mean_of(summaries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Mean over streams, each counting the same; ``n`` is the sum."""
    rows = list(summaries)
    out: dict[str, Any] = {"streams": len(rows), "n": sum(row["n"] for row in rows)}
    for key in ("mape", "median", "first_five", "coverage", "width"):
        values = [row[key] for row in rows if row[key] is not None]
        out[key] = round(statistics.fmean(values), 4) if values else None
    return out
