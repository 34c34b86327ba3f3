"""Two versions on the same probes: differences with intervals, in all and bucket by bucket.

Nothing here draws random numbers, so that a table derived from it is the same to the byte on every machine; the paired
bootstrap of :mod:`reckoner.evaluate` is the reference in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from reckoner.evaluate.report import SLICES, Outcome
from reckoner.evaluate.stats import LEVEL, items_per_arm, mcnemar
from reckoner.finops.cost import Interval, inverse, paired_accuracy_ratio, ratio
from reckoner.finops.inputs import Candidate, Speed

ALPHA: Final = 1.0 - LEVEL

BUCKETS: Final = ("language", "tense", "person", "regularity", "verb")
"""The breakdowns that the seed asks for, coarse to fine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Accuracy of one version minus that of another, on the same items.

    Attributes
    ----------
    n : int
        Items.
    value, low, high : float
        Difference and its 95% interval.
    p_value : float
        Exact McNemar test that both are equally accurate.
    items_per_arm : int or None
        Items each of two independent samples would need to tell these accuracies apart (80% power, 5% level); None
        where they are equal.
    """

    n: int
    value: float
    low: float
    high: float
    p_value: float
    items_per_arm: int | None

    @property
    def distinguishable(self) -> bool:
        """Whether chance alone would rarely (5%) show such a difference."""
        return self.p_value < ALPHA


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A bucket in which another version is more accurate than the winner of the whole."""

    dimension: str
    bucket: str
    other: Candidate
    winner_accuracy: float
    other_accuracy: float
    difference: Difference


def accuracy_difference(first: Candidate, second: Candidate) -> Difference:
    """Conjugation accuracy of ``first`` minus that of ``second`` over the core probes."""
    return _difference(_verdicts(first.report.core), _verdicts(second.report.core))


def cpqu_ratio(first: Candidate, second: Candidate) -> Interval | None:
    """CpQU of ``first`` over that of ``second``, with its 95% interval; the hourly rate cancels.

    Costs are taken as independent of each other and of the answers, accuracies as paired.

    Returns
    -------
    Interval or None
        None where a throughput has no interval or an accuracy is 0.
    """
    speeds = [speed_interval(model.throughput.tokens_per_s) for model in (first, second)]
    accuracies = paired_accuracy_ratio(_verdicts(first.report.core), _verdicts(second.report.core))
    if speeds[0] is None or speeds[1] is None or accuracies is None:
        return None
    costs = ratio(inverse(speeds[0], 1.0), inverse(speeds[1], 1.0))
    return None if costs is None else ratio(costs, accuracies)


def speed_interval(speed: Speed) -> Interval | None:
    """A speed with its interval; None where the repeats were too few for one."""
    if speed.low is None or speed.high is None:
        return None
    return Interval(value=speed.median, low=speed.low, high=speed.high)


def losses(winner: Candidate, others: Sequence[Candidate]) -> tuple[tuple[Loss, ...], int]:
    """Buckets in which the best of ``others`` is more accurate than ``winner``, and how many buckets were looked at."""
    found = []
    looked = 0
    for dimension, bucket, verdicts in _buckets(winner):
        looked += 1
        best: tuple[float, Candidate, list[bool]] | None = None
        for other in others:
            theirs = _bucket(other, dimension, bucket)
            accuracy = sum(theirs) / len(theirs)
            if best is None or accuracy > best[0]:
                best = accuracy, other, theirs
        mine = sum(verdicts) / len(verdicts)
        if best is not None and best[0] > mine:
            found.append(
                Loss(
                    dimension=dimension,
                    bucket=bucket,
                    other=best[1],
                    winner_accuracy=mine,
                    other_accuracy=best[0],
                    difference=_difference(verdicts, best[2]),
                )
            )
    return tuple(found), looked


def _buckets(model: Candidate) -> Iterator[tuple[str, str, list[bool]]]:
    for dimension in BUCKETS:
        for bucket in sorted({SLICES[dimension](outcome) for outcome in model.report.core}):
            yield dimension, bucket, _bucket(model, dimension, bucket)


def _bucket(model: Candidate, dimension: str, bucket: str) -> list[bool]:
    return _verdicts([outcome for outcome in model.report.core if SLICES[dimension](outcome) == bucket])


def _verdicts(outcomes: Sequence[Outcome]) -> list[bool]:
    return [outcome.correct for outcome in outcomes]


def _difference(first: list[bool], second: list[bool]) -> Difference:
    n = len(first)
    share_first, share_second = sum(first) / n, sum(second) / n
    value, low, high = _agresti_min(first, second)
    return Difference(
        n=n,
        value=value,
        low=low,
        high=high,
        p_value=mcnemar(first, second),
        items_per_arm=None if share_first == share_second else items_per_arm(share_first, share_second),
    )


def _agresti_min(first: list[bool], second: list[bool]) -> tuple[float, float, float]:
    """Difference of matched proportions with its interval: the score of half an item added to each of the four cells.

    A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
    Medicine 24 (2005), 729-740.
    """
    n = len(first)
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    value = (only_first - only_second) / n
    gap, total = only_first - only_second, n + 2
    spread = math.sqrt((only_first + only_second + 1) - gap * gap / total) / total
    reach = NormalDist().inv_cdf(0.5 + LEVEL / 2) * spread
    middle = gap / total
    return value, max(min(middle - reach, value), -1.0), min(max(middle + reach, value), 1.0)
