"""The Forecasts page: how good every predictor in the ledger was, as ``reckoner score`` tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reckoner.ledger import Ledger
from reckoner.ledger.scores import Key, Sums, scores
from reckoner.report.forecast_figures import coverage_chart, drift_chart
from reckoner.report.forecast_text import SCORE_COLUMNS, by_hour, score_rows
from reckoner.report.tables import Table
from reckoner.web.views import Part, block, note

EVERY: Final = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What the ledger says about forecasts.

    Attributes
    ----------
    waiting : int
        Predictions whose outcome has not come.
    """

    sums: dict[Key, Sums]
    waiting: int

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that have met an outcome."""
        return tuple(sorted({key.metric for key in self.sums}))

    @property
    def predictors(self) -> tuple[str, ...]:
        """Who has predicted something that has met its outcome."""
        return tuple(sorted({key.predictor for key in self.sums}))


def read(ledger: Ledger) -> Scored:
    """Count pairs, tallies and sealed segments, as ``reckoner score`` does."""
    return Scored(sums=ledger.sums(), waiting=ledger.waiting())


def show(scored: Scored, *, metric: str = EVERY, predictor: str = EVERY, by_model: bool = False) -> str:
    """Table of scores, and the figures of drift and coverage of one metric."""
    kept = {
        key: part
        for key, part in scored.sums.items()
        if metric in (EVERY, key.metric) and predictor in (EVERY, key.predictor)
    }
    waiting = f"{scored.waiting} predictions wait for their outcome." if scored.waiting else ""
    if not kept:
        return note(
            f"No prediction has met its outcome yet. {waiting} Commit one with `reckoner forecast MODEL -p TOKENS "
            "--commit`, and its outcome with `reckoner record request`.",
            "unknown",
        )
    table = Table(headers=SCORE_COLUMNS, rows=tuple(tuple(row) for row in score_rows(scores(kept, by_model=by_model))))
    parts: list[Part] = [
        "Errors are |forecast - outcome| / outcome; only what was committed before its outcome counts. *Inside* is "
        "the share of outcomes within their interval, of what was promised.".replace("*", "**"),
        table,
    ]
    drawn = metric if metric != EVERY else _busiest(kept)
    hours, level = by_hour(kept, drawn)
    if hours:
        parts.append(drift_chart(hours))
        if level:
            parts.append(coverage_chart(hours, level=level))
    if waiting:
        parts.append(waiting)
    return block(parts, title="Calibration and drift" if metric == EVERY else f"Calibration and drift of {metric}")


def _busiest(sums: dict[Key, Sums]) -> str:
    """The metric with most outcomes; of equal ones the first by name."""
    counts: dict[str, int] = {}
    for key, part in sums.items():
        counts[key.metric] = counts.get(key.metric, 0) + part.n
    return min(counts, key=lambda metric: (-counts[metric], metric))
