"""Two models on the same probes: how far apart, and whether that can be told from chance."""

from __future__ import annotations

from reckoner.errors import DamagedError
from reckoner.evaluate.report import Report, check_same_set
from reckoner.evaluate.stats import LEVEL, mcnemar, paired_bootstrap


def paired_difference(
    report_a: Report, report_b: Report, seed: int, level: float = LEVEL
) -> tuple[float, float, float]:
    """Difference in conjugation accuracy, a - b, with its paired bootstrap interval.

    Returns
    -------
    difference, low, high : float
        When the interval holds 0 the two are not distinguishable on this set.

    Raises
    ------
    MixedSetsError
        The reports are of different evaluation sets.
    """
    return paired_bootstrap(*_pairs(report_a, report_b), seed=seed, level=level)


def paired_p_value(report_a: Report, report_b: Report) -> float:
    """Exact McNemar p-value that both are equally accurate on the core probes.

    Raises
    ------
    MixedSetsError
        The reports are of different evaluation sets.
    """
    return mcnemar(*_pairs(report_a, report_b))


def _pairs(report_a: Report, report_b: Report) -> tuple[list[bool], list[bool]]:
    check_same_set([report_a, report_b])
    a, b = report_a.core, report_b.core
    if [outcome.id for outcome in a] != [outcome.id for outcome in b]:
        raise DamagedError(
            f"reports {report_a.label} and {report_b.label} name one evaluation set but hold different probes; "
            "grade both again"
        )
    return [outcome.correct for outcome in a], [outcome.correct for outcome in b]
