"""The demo's figures of accuracy, price and speed, from graded reports and the price table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from reckoner.evaluate.report import Accuracy, Report
from reckoner.finops.inputs import Speed
from reckoner.finops.table import CostTable
from reckoner.report.chart import Chart, Series, table_of
from reckoner.report.tables import Table

TENSES = ("infinitive", "present_simple", "past_simple", "past_participle", "future")


def accuracy_chart(reports: Mapping[str, Report]) -> Chart:
    """Accuracy of each version with its interval: all core items, seen and held-out cells, adversarial items."""
    parts: dict[str, Callable[[Report], Accuracy | None]] = {
        "all core items": lambda report: report.accuracy,
        "cells seen in training": lambda report: report.seen,
        "cells held out": lambda report: report.held_out,
        "adversarial items": lambda report: report.adversarial,
    }
    kept = {name: part for name, part in parts.items() if any(part(report) is not None for report in reports.values())}
    series = [_dots(semver, {name: part(report) for name, part in kept.items()}) for semver, report in reports.items()]
    return _accuracies(
        "accuracy",
        "Accuracy of each version",
        "items",
        series,
        "Share of blanks filled with exactly the expected word, with 95% Wilson intervals. Price and advice "
        "tells which leads are more than chance.",
    )


def tense_chart(reports: Mapping[str, Report]) -> Chart:
    """Accuracy of each version by tense with its Wilson interval."""
    series = [
        _dots(semver, {tense.replace("_", " "): report.slices["tense"].get(tense) for tense in TENSES})
        for semver, report in reports.items()
    ]
    return _accuracies(
        "tense",
        "Accuracy by tense",
        "tense",
        series,
        "Core items by tense, with 95% Wilson intervals: an aggregate hides what a version lost in one tense.",
    )


def price_chart(table: CostTable) -> Chart:
    """Price against accuracy, both with their intervals: down is worse, right is dearer."""
    series = []
    for row in table.rows:
        price = row.usd_per_1k_interval
        series.append(
            Series(
                name=row.model.semver,
                x=(1e3 * row.usd_per_1k_tokens,),
                x_low=None if price is None else (1e3 * price.low,),
                x_high=None if price is None else (1e3 * price.high,),
                y=(row.accuracy.value,),
                low=(row.accuracy.low,),
                high=(row.accuracy.high,),
                style="dots",
            )
        )
    rows = tuple(
        (row.model.semver, 1e3 * row.usd_per_1k_tokens, row.accuracy.value, row.accuracy.low, row.accuracy.high)
        for row in table.rows
    )
    return Chart(
        name="price",
        title="Price and accuracy",
        x_title="USD per 1M tokens",
        y_title="conjugation accuracy",
        series=tuple(series),
        caption="Up is more accurate, left is cheaper. Vertical bars are 95% Wilson intervals; horizontal ones come "
        "from the repeats of the throughput test.",
        table=Table(headers=("version", "USD per 1M tokens", "accuracy", "low", "high"), rows=rows),
    )


def speed_chart(table: CostTable) -> Chart:
    """Tokens per second of each version: end to end, and decode alone."""
    parts: dict[str, Callable[[int], Speed | None]] = {
        "new tokens, end to end": lambda index: table.rows[index].model.throughput.tokens_per_s,
        "decode alone": lambda index: table.rows[index].model.throughput.decode_tokens_per_s,
    }
    return _speeds(
        table,
        parts,
        "speed",
        "Tokens per second",
        "Median over the repeats with its interval, batch 1. End to end counts new tokens over the whole wall time, "
        "prompts included; decode alone is by the engine's own clock.",
    )


def prefill_chart(table: CostTable) -> Chart | None:
    """Prompt tokens per second of each version; None where the engine does not tell prefill apart."""
    if all(row.model.throughput.prefill_tokens_per_s is None for row in table.rows):
        return None
    parts: dict[str, Callable[[int], Speed | None]] = {
        "prefill": lambda index: table.rows[index].model.throughput.prefill_tokens_per_s
    }
    return _speeds(
        table,
        parts,
        "prefill",
        "Prompt tokens per second",
        "Prefill works on all tokens of a prompt at once; by the engine's own clock, median with its interval.",
    )


def _speeds(
    table: CostTable, parts: Mapping[str, Callable[[int], Speed | None]], name: str, title: str, caption: str
) -> Chart:
    versions = tuple(row.model.semver for row in table.rows)
    series = []
    for part, speed_of in parts.items():
        speeds = [speed_of(index) for index in range(len(versions))]
        if all(speed is None for speed in speeds):
            continue
        series.append(
            Series(
                name=part,
                x=versions,
                y=tuple(None if speed is None else speed.median for speed in speeds),
                low=tuple(None if speed is None else speed.low for speed in speeds),
                high=tuple(None if speed is None else speed.high for speed in speeds),
                style="bars",
            )
        )
    return Chart(
        name=name,
        title=title,
        x_title="version",
        y_title="tokens/s",
        series=tuple(series),
        caption=caption,
        table=table_of("version", series),
    )


def _dots(name: str, accuracies: Mapping[str, Accuracy | None]) -> Series:
    return Series(
        name=name,
        x=tuple(accuracies),
        y=tuple(None if one is None else one.accuracy for one in accuracies.values()),
        low=tuple(None if one is None else one.low for one in accuracies.values()),
        high=tuple(None if one is None else one.high for one in accuracies.values()),
        style="dots",
    )


def _accuracies(name: str, title: str, x_title: str, series: Sequence[Series], caption: str) -> Chart:
    lows = [low for one in series for low in one.low or () if low is not None]
    return Chart(
        name=name,
        title=title,
        x_title=x_title,
        y_title="accuracy",
        series=tuple(series),
        caption=caption,
        table=table_of(x_title, series),
        # Dots need no zero line; down to the tenth below the lowest interval, the differences can be seen.
        y_range=(math.floor(10 * min(lows)) / 10, 1.01),
    )
