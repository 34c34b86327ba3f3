"""Cost per quality unit bucket by bucket: what a version costs where it is weak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reckoner.errors import UnknownNameError
from reckoner.evaluate.report import SLICES
from reckoner.evaluate.stats import wilson
from reckoner.finops.compare import BUCKETS
from reckoner.finops.cost import Interval, cpqu, ratio
from reckoner.finops.inputs import Candidate
from reckoner.finops.table import CostTable

__all__ = ["BUCKETS", "BucketRow", "bucket_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketRow:
    """One version in one bucket.

    Attributes
    ----------
    accuracy : Interval
        With its Wilson interval over the bucket's ``n`` items.
    cpqu : float or None
        None where the version is not deployment-ready in this bucket. [USD/1000 token]
    cpqu_interval : Interval or None
        Joins the intervals of price and accuracy on the log scale; None where one is missing. [USD/1000 token]
    """

    bucket: str
    model: Candidate
    n: int
    accuracy: Interval
    cpqu: float | None
    cpqu_interval: Interval | None


def bucket_rows(table: CostTable, dimension: str) -> Sequence[BucketRow]:
    """Every version in every bucket of a dimension, by bucket and then by version.

    Raises
    ------
    UnknownNameError
        There is no such dimension.
    """
    if dimension not in BUCKETS:
        raise UnknownNameError.of("dimension", dimension, BUCKETS)
    part = SLICES[dimension]
    names = sorted({part(item) for row in table.rows for item in row.model.report.core})
    found = []
    for bucket in names:
        for row in table.rows:
            verdicts = [item.correct for item in row.model.report.core if part(item) == bucket]
            if not verdicts:
                continue
            low, high = wilson(sum(verdicts), len(verdicts))
            accuracy = Interval(value=sum(verdicts) / len(verdicts), low=low, high=high)
            unit = cpqu(row.usd_per_1k_tokens, accuracy.value)
            price = row.usd_per_1k_interval
            joined = None if unit is None or price is None else ratio(price, accuracy)
            found.append(
                BucketRow(
                    bucket=bucket,
                    model=row.model,
                    n=len(verdicts),
                    accuracy=accuracy,
                    cpqu=unit,
                    cpqu_interval=joined,
                )
            )
    return tuple(found)
