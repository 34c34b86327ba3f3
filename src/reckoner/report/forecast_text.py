"""Scores and ledger entries as rows of words: the same on the command line and in the browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reckoner.ledger import Score
from reckoner.ledger.ledger import Kept
from reckoner.ledger.scores import Key, Sums
from reckoner.report.forecast_figures import HourScore

SCORE_COLUMNS: Final = ("metric", "predictor", "model", "n", "median", "mean", "P90", "bias", "inside", "width")
ENTRY_COLUMNS: Final = ("entry", "at (UTC)", "kind", "subject", "what")


def score_rows(scores: Sequence[Score]) -> list[list[str]]:
    """Cells of a table of scores, one for each of :data:`SCORE_COLUMNS`."""
    return [
        [
            score.metric,
            score.predictor,
            score.model or "all",
            str(score.n),
            share(score.median_ape),
            share(score.mean_ape),
            share(score.p90_ape),
            share(score.bias, sign=True),
            share(score.coverage) + ("" if score.level is None else f" of {100 * score.level:.0f}%"),
            share(score.width),
        ]
        for score in scores
    ]


def share(value: float | None, *, sign: bool = False) -> str:
    """Share as percent; a dash where there is none.

    >>> share(0.1234), share(None), share(-0.05, sign=True)
    ('12.3%', '-', '-5.0%')
    """
    if value is None:
        return "-"
    return f"{100 * value:+.1f}%" if sign else f"{100 * value:.1f}%"


def by_hour(sums: Mapping[Key, Sums], metric: str) -> tuple[dict[str, list[HourScore]], float]:
    """Scores of each predictor by hour, and the level that their intervals promised (0 where none had one)."""
    merged: dict[tuple[str, str], Sums] = {}
    for key, part in sums.items():
        if key.metric == metric:
            group = (key.predictor, key.hour)
            merged[group] = merged[group].merge(part) if group in merged else part
    hours: dict[str, list[HourScore]] = {}
    level, intervals = 0.0, 0
    for predictor, hour in sorted(merged):
        part = merged[predictor, hour]
        if part.n:
            level, intervals = level + part.level, intervals + part.intervals
            hours.setdefault(predictor, []).append(
                HourScore(
                    hour=hour,
                    n=part.n,
                    bias=part.error / part.n,
                    mean_ape=part.ape / part.n,
                    coverage=part.covered / part.intervals if part.intervals else None,
                )
            )
    return hours, level / intervals if intervals else 0.0


def entry_row(kept: Kept) -> list[str]:
    """Cells of one entry, one for each of :data:`ENTRY_COLUMNS`."""
    return [str(kept.id), kept.at[:19], kept.body["kind"], kept.body["subject"], gist(kept.body)]


def gist(body: Mapping[str, Any]) -> str:
    """One line about an entry."""
    if body["kind"] == "prediction":
        figures = ", ".join(f"{metric}={figure['value']:.4g}" for metric, figure in body["figures"].items())
        return f"{body['predictor']}: {figures}"
    if body["kind"] == "observation":
        return ", ".join(f"{metric}={value:.4g}" for metric, value in body["figures"].items())
    if body["kind"] == "decision":
        return str(body["choice"])
    if body["kind"] == "tally":
        return f"{sum(row['sums']['n'] for row in body['body']['scores'])} forecasts scored"
    return "a file taken over" if body["kind"] == "import" else str(body["body"]["file"])
