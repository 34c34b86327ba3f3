"""Statistics of graded answers: intervals, paired comparison, sample size, calibration, pass@k."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, comb, sqrt
from statistics import NormalDist

import numpy as np

from reckoner.errors import InputError

LEVEL = 0.95  # assumption: the level of every interval that reckoner prints unless asked otherwise
_RESAMPLES = 10_000  # assumption: the percentile ends then wander by about 0.02 of the interval's width
_BINS = 10  # assumption: about 60 of the 600 core probes a bin


def wilson(correct: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson score interval of a proportion.

    Parameters
    ----------
    correct : float
        Successes, 0 to ``n``.
    n : int
        Trials, at least 1.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    low, high : float

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference", JASA 22 (1927) 209-212.
    .. [2] R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Stat. Med. 17 (1998), method 3.

    Examples
    --------
    Newcombe's first example, 81 of 263:

    >>> low, high = wilson(81, 263)
    >>> f"{low:.4f} {high:.4f}"
    '0.2553 0.3662'
    """
    if n < 1:
        raise InputError(f"n is {n}; an interval needs at least one item")
    if not 0 <= correct <= n:
        raise InputError(f"correct is {correct} of n = {n}; it must be between 0 and n")
    _between_0_and_1("level", level)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = correct / n
    middle = p + z * z / (2 * n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # exact at the ends, where rounding would leave 1e-17 of probability on the wrong side
    low = 0.0 if correct == 0 else (middle - half) / scale
    high = 1.0 if correct == n else (middle + half) / scale
    return low, high


def chance_corrected(accuracy: float, options: int) -> float:
    """Accuracy above guessing among ``options``: 0 is a guess, 1 is perfect, below 0 is worse than a guess.

    .. math:: (a - 1/k) / (1 - 1/k)

    >>> chance_corrected(0.25, 4), chance_corrected(1.0, 4)
    (0.0, 1.0)
    """
    if options < 2:
        raise InputError(f"options is {options}; guessing needs at least 2")
    if not 0 <= accuracy <= 1:
        raise InputError(f"accuracy is {accuracy}; it must be between 0 and 1")
    return (accuracy - 1 / options) / (1 - 1 / options)


def items_per_arm(p1: float, p2: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Items that each of two independent arms needs to tell ``p1`` from ``p2``, two-sided.

    References
    ----------
    .. [1] J. L. Fleiss, "Statistical Methods for Rates and Proportions", 2nd ed. (1981), eq. 3.14, uncorrected.

    Examples
    --------
    The FinOps table's 0.752 and 0.748:

    >>> items_per_arm(0.752, 0.748)
    183957
    """
    for name, value in (("p1", p1), ("p2", p2)):
        if not 0 <= value <= 1:
            raise InputError(f"{name} is {value}; it must be between 0 and 1")
    _between_0_and_1("power", power)
    _between_0_and_1("alpha", alpha)
    if p1 == p2:
        raise InputError(f"p1 and p2 are both {p1}; no number of items tells equal accuracies apart")
    mean = (p1 + p2) / 2
    z_alpha, z_power = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    spread = z_alpha * sqrt(2 * mean * (1 - mean)) + z_power * sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    return ceil(spread**2 / (p1 - p2) ** 2)


def paired_bootstrap(
    a: Sequence[bool], b: Sequence[bool], seed: int, level: float = LEVEL, resamples: int = _RESAMPLES
) -> tuple[float, float, float]:
    """Difference in accuracy, a - b, on the same items, with its percentile bootstrap interval.

    Items are resampled in pairs, so what the two have in common cancels. Only three kinds of item differ to the sum
    (+1, 0, -1), so a resample is one multinomial draw: the bootstrap itself, not an approximation of it.

    Returns
    -------
    difference, low, high : float

    References
    ----------
    .. [1] B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), ch. 13.
    """
    only_a, only_b, n = _discordant(a, b)
    _between_0_and_1("level", level)
    if resamples < 1:
        raise InputError(f"resamples is {resamples}; it must be at least 1")
    counts = np.random.default_rng(seed).multinomial(
        n, [only_a / n, only_b / n, (n - only_a - only_b) / n], size=resamples
    )
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / n, [(1 - level) / 2, (1 + level) / 2])
    return (only_a - only_b) / n, float(low), float(high)


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Exact two-sided p-value that a and b, graded on the same items, are equally accurate.

    Under that hypothesis each item that only one of them has right is a fair coin.

    References
    ----------
    .. [1] Q. McNemar, Psychometrika 12 (1947) 153-157; exact binomial form.

    Examples
    --------
    Eight items only a has right, one only b: 2 (1 + 9) / 2^9.

    >>> mcnemar([True] * 8 + [False], [False] * 8 + [True])
    0.0390625
    """
    only_a, only_b, _ = _discordant(a, b)
    coins = only_a + only_b
    tail = sum(comb(coins, k) for k in range(min(only_a, only_b) + 1))
    # integers of any size divide exactly where floats would overflow
    return float(min(Fraction(1), Fraction(2 * tail, 2**coins)))


def pass_at_k(n: int, correct: int, k: int) -> float:
    r"""Probability that at least one of ``k`` answers is right, drawn from ``n`` samples of which ``correct`` are.

    .. math:: 1 - \binom{n - c}{k} / \binom{n}{k}

    References
    ----------
    .. [1] M. Chen et al., "Evaluating Large Language Models Trained on Code" (2021), eq. 1. arXiv:2107.03374

    Examples
    --------
    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if not 0 <= correct <= n:
        raise InputError(f"correct is {correct} of n = {n}; it must be between 0 and n")
    if not 1 <= k <= n:
        raise InputError(f"k is {k}; it must be between 1 and the {n} samples drawn")
    return 1 - comb(n - correct, k) / comb(n, k)


def expected_calibration_error(confidences: Sequence[float], correct: Sequence[bool], bins: int = _BINS) -> float:
    """Mean distance between confidence and accuracy over equal-width bins, weighted by their items.

    Parameters
    ----------
    confidences : sequence of float
        Probability given to the chosen option, 0 to 1.
    correct : sequence of bool
        Whether the chosen option was right.

    References
    ----------
    .. [1] C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3. arXiv:1706.04599

    Examples
    --------
    Ten answers, each given 0.75, five of them right:

    >>> expected_calibration_error([0.75] * 10, [True] * 5 + [False] * 5)
    0.25
    """
    if not confidences or len(confidences) != len(correct):
        raise InputError(f"{len(confidences)} confidences for {len(correct)} answers; give one for each, at least one")
    given, right = np.asarray(confidences, float), np.asarray(correct, float)
    if not ((given >= 0) & (given <= 1)).all():
        raise InputError(f"confidences range over {given.min()} .. {given.max()}; they must be between 0 and 1")
    # (0, w], (w, 2w], ...; an exact 0 goes with the first
    which = np.clip(np.ceil(given * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(which, weights=given - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(given))


def brier(probabilities: Sequence[float], expected: int) -> float:
    """Squared distance of the probabilities over all options from the truth, 0 (sure and right) to 2 (sure and wrong).

    References
    ----------
    .. [1] G. W. Brier, "Verification of forecasts expressed in terms of probability", Mon. Weather Rev. 78 (1950) 1-3.

    Examples
    --------
    >>> brier([0.5, 0.5], 0)
    0.5
    """
    if not 0 <= expected < len(probabilities):
        raise InputError(f"expected is option {expected} of {len(probabilities)}; count from 0")
    return sum((p - (option == expected)) ** 2 for option, p in enumerate(probabilities))


def _discordant(a: Sequence[bool], b: Sequence[bool]) -> tuple[int, int, int]:
    """Items that only a has right, that only b has right, and all."""
    if not a or len(a) != len(b):
        raise InputError(f"{len(a)} answers against {len(b)}; a paired comparison needs the same items, at least one")
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    return only_a, only_b, len(a)


def _between_0_and_1(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise InputError(f"{name} is {value}; it must be between 0 and 1")
