"""Cost per quality unit by bucket, as a figure and a table."""

from __future__ import annotations

from collections.abc import Sequence

from reckoner.finops.buckets import BucketRow
from reckoner.finops.cost import NOT_READY
from reckoner.report.chart import Chart, Series
from reckoner.report.tables import Estimate, Table

_PER_MILLION = 1e3  # USD per 1,000 tokens -> USD per 1M tokens: figures without a tail of zeros


def bucket_chart(rows: Sequence[BucketRow], dimension: str) -> Chart:
    """Cost per quality unit of every version in every bucket."""
    versions = tuple(dict.fromkeys(row.model.semver for row in rows))
    series = []
    for version in versions:
        mine = [row for row in rows if row.model.semver == version]
        ends = [row.cpqu_interval for row in mine]
        series.append(
            Series(
                name=version,
                x=tuple(row.bucket.replace("_", " ") for row in mine),
                y=tuple(None if row.cpqu is None else _PER_MILLION * row.cpqu for row in mine),
                low=tuple(None if end is None else _PER_MILLION * end.low for end in ends),
                high=tuple(None if end is None else _PER_MILLION * end.high for end in ends),
                style="dots",
            )
        )
    return Chart(
        name=f"cpqu-{dimension}",
        title=f"Cost per quality unit by {dimension}",
        x_title=dimension,
        y_title="USD per 1M tokens / accuracy",
        series=tuple(series),
        caption="Lower is better. A version without a point in a bucket is not deployment-ready there.",
        table=bucket_table(rows, dimension),
    )


def bucket_table(rows: Sequence[BucketRow], dimension: str) -> Table:
    """The numbers: items, accuracy and cost per quality unit of every version in every bucket."""
    return Table(
        headers=(dimension.capitalize(), "Version", "Items", "Accuracy [95%]", "CpQU, USD per 1M tokens [interval]"),
        rows=tuple(
            (
                row.bucket.replace("_", " "),
                row.model.semver,
                row.n,
                str(Estimate(value=row.accuracy.value, low=row.accuracy.low, high=row.accuracy.high)),
                _unit(row),
            )
            for row in rows
        ),
    )


def _unit(row: BucketRow) -> str:
    if row.cpqu is None:
        return NOT_READY
    ends = row.cpqu_interval
    if ends is None:
        return f"{_PER_MILLION * row.cpqu:.4g}"
    return str(Estimate(value=_PER_MILLION * row.cpqu, low=_PER_MILLION * ends.low, high=_PER_MILLION * ends.high))
