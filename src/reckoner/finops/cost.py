"""Cost per token, per request, per quality unit and per accepted answer, with their intervals.

Formulas are the seed's (``cpqu``) and the corrections to it: a ratio of cost to accuracy ranks mostly by price, so the
cost of an accepted answer and the priced error stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from reckoner.errors import InputError

READY_ACCURACY: Final = 0.30
"""Below this accuracy a CpQU is a large number made by a small denominator, so none is given (seed 000, block C)."""

NOT_READY: Final = "not-deployment-ready"

_SECONDS_PER_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure between the ends of its interval."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse an interval that is not finite or does not hold its own value."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.value <= self.high):
            raise InputError(
                f"interval [{self.low}, {self.high}] does not hold its value {self.value}; check the measurement"
            )


def usd_per_1k_tokens(usd_per_hour: float, tokens_per_s: float) -> float:
    r"""What 1,000 tokens cost on hardware that is busy all the time.

    .. math:: c_{1k} = \frac{r}{3.6 \, v}

    Parameters
    ----------
    usd_per_hour : float
        Rate of the hardware :math:`r`, above 0. [USD/h]
    tokens_per_s : float
        Throughput :math:`v`, above 0. [token/s]

    Returns
    -------
    float
        Cost at 100% utilisation; divide by the utilisation for a machine that also waits. [USD/1000 token]

    Raises
    ------
    InputError
        A figure is 0, negative, NaN or infinite.

    Examples
    --------
    A laptop at $0.05 an hour that gives 1,400 tokens/s:

    >>> round(usd_per_1k_tokens(0.05, 1400), 8)
    9.92e-06
    """
    return _positive("usd_per_hour", usd_per_hour) / (_positive("tokens_per_s", tokens_per_s) * 3.6)


def cpqu(usd_per_1k: float, accuracy: float) -> float | None:
    """Cost per quality unit: ``usd_per_1k / accuracy``, lower is better.

    Returns
    -------
    float or None
        None where the accuracy is below :data:`READY_ACCURACY`: nothing is divided. [USD/1000 token]

    Examples
    --------
    >>> round(cpqu(0.0098, 0.752), 4), cpqu(0.0098, 0.29)
    (0.013, None)
    """
    _positive("usd_per_1k", usd_per_1k)
    return None if _share("accuracy", accuracy) < READY_ACCURACY else usd_per_1k / accuracy


def usd_per_request(
    usd_per_hour: float,
    *,
    prompt_tokens: float,
    output_tokens: float,
    prefill_tokens_per_s: float,
    decode_tokens_per_s: float,
) -> float:
    r"""What one request costs, its prompt at the prefill speed and its answer at the decode speed. [USD/request].

    .. math:: c = \frac{r}{3600} \left( \frac{P}{v_{prefill}} + \frac{G - 1}{v_{decode}} \right)

    The prefill gives the first of the :math:`G` new tokens. One request at a time on hardware that is busy all the
    time, as the throughput test measures it.

    >>> round(usd_per_request(3.6, prompt_tokens=100, output_tokens=11, prefill_tokens_per_s=1e3,
    ...                       decode_tokens_per_s=100), 6)
    0.0002
    """
    if not output_tokens >= 1:
        raise InputError(f"output_tokens is {output_tokens}; a request makes at least 1 token")
    busy_s = _not_negative("prompt_tokens", prompt_tokens) / _positive("prefill_tokens_per_s", prefill_tokens_per_s)
    busy_s += (output_tokens - 1) / _positive("decode_tokens_per_s", decode_tokens_per_s)
    return _positive("usd_per_hour", usd_per_hour) / _SECONDS_PER_HOUR * busy_s


def usd_per_accepted(usd_per_answer: float, accuracy: float) -> float | None:
    """Cost of one accepted answer where wrong ones are detected and asked again: ``c / p``.

    The number of tries is geometric with mean ``1 / p``, tries taken as independent: a model that is always wrong on
    the same question never gets there, so this is the mean over questions like those graded. None where ``p`` is 0.

    >>> usd_per_accepted(0.002, 0.8)
    0.0025
    """
    _not_negative("usd_per_answer", usd_per_answer)
    return None if _share("accuracy", accuracy) == 0 else usd_per_answer / accuracy


def usd_with_errors(usd_per_answer: float, accuracy: float, usd_per_error: float) -> float:
    """Cost of one answer where wrong ones are *not* detected: ``c + (1 - p) * usd_per_error``.

    >>> round(usd_with_errors(0.002, 0.75, 0.01), 6)
    0.0045
    """
    _not_negative("usd_per_answer", usd_per_answer)
    return usd_per_answer + (1.0 - _share("accuracy", accuracy)) * _not_negative("usd_per_error", usd_per_error)


def break_even_usd_per_error(cheap: tuple[float, float], better: tuple[float, float]) -> float | None:
    """Price of an error above which the dearer, better model is the cheaper one in all.

    Parameters
    ----------
    cheap, better : (float, float)
        Cost per answer and accuracy of each. [USD/answer], [1]

    Returns
    -------
    float or None
        ``(c_b - c_a) / (p_b - p_a)``, at least 0; None where ``better`` is not the more accurate one. [USD/error]

    >>> round(break_even_usd_per_error((0.001, 0.75), (0.002, 0.80)), 6)
    0.02
    """
    gain = better[1] - cheap[1]
    return None if gain <= 0 else max(better[0] - cheap[0], 0.0) / gain


def inverse(interval: Interval, numerator: float) -> Interval:
    """``numerator / interval``: a cost from a speed; the ends change places.

    >>> inverse(Interval(value=2.0, low=1.0, high=4.0), 4.0)
    Interval(value=2.0, low=1.0, high=4.0)
    """
    return Interval(
        value=numerator / interval.value,
        low=numerator / _positive("high", interval.high),
        high=numerator / _positive("low", interval.low),
    )


def ratio(above: Interval, below: Interval) -> Interval | None:
    r"""Interval of ``above / below`` from the intervals of two independent figures.

    The log-delta rule with each interval's own distance in place of :math:`z \sigma`, so that skewed intervals stay
    skewed and an accuracy of 1 keeps its Wilson interval instead of a variance of zero [1]_:

    .. math:: \ln \tfrac{a}{b} \; - \sqrt{(\ln a - \ln a_l)^2 + (\ln b_u - \ln b)^2}, \quad
              \ln \tfrac{a}{b} \; + \sqrt{(\ln a_u - \ln a)^2 + (\ln b - \ln b_l)^2}

    Returns
    -------
    Interval or None
        None where an end is 0, for then there is no upper end.

    References
    ----------
    .. [1] G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures: a general approach",
       Statistics in Medicine 27 (2008), 1693-1702.
    """
    if min(above.low, below.low) <= 0:
        return None
    middle = math.log(above.value) - math.log(below.value)
    down = math.hypot(math.log(above.value / above.low), math.log(below.high / below.value))
    up = math.hypot(math.log(above.high / above.value), math.log(below.value / below.low))
    value = above.value / below.value
    return Interval(value=value, low=min(math.exp(middle - down), value), high=max(math.exp(middle + up), value))


def accepted_from_items(
    usd_per_answer: Sequence[float], correct: Sequence[bool], *, level: float = 0.95
) -> Interval | None:
    r"""Cost per accepted answer from items whose cost and correctness were observed together.

    .. math:: \mathrm{Var} \ln \frac{\bar c}{\bar y} \approx \frac{1}{n} \left(
              \frac{s_c^2}{\bar c^2} + \frac{s_y^2}{\bar y^2} - \frac{2 s_{cy}}{\bar c \bar y} \right)

    The covariance matters: long answers cost more and are wrong more often.

    Parameters
    ----------
    usd_per_answer : (n,) sequence of float
        Cost of each answer, at least two. [USD]
    correct : (n,) sequence of bool
        Whether that answer was accepted.

    Returns
    -------
    Interval or None
        None where no answer was accepted. [USD/accepted answer]
    """
    costs = np.asarray(usd_per_answer, dtype=np.float64)
    right = np.asarray(correct, dtype=np.float64)
    if costs.shape != right.shape or costs.ndim != 1 or costs.size < 2:
        raise InputError(
            f"usd_per_answer has shape {costs.shape} and correct {right.shape}; give two or more items, one cost each"
        )
    if not (np.isfinite(costs).all() and (costs > 0).all()):
        raise InputError(f"usd_per_answer holds {costs.min()}; costs are finite and above 0")
    mean_cost, share = float(costs.mean()), float(right.mean())
    if share == 0:
        return None
    (var_cost, cov), (_, var_right) = np.cov(costs, right).tolist()
    var_log = (var_cost / mean_cost**2 + var_right / share**2 - 2 * cov / (mean_cost * share)) / costs.size
    reach = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt(max(var_log, 0.0))
    value = mean_cost / share
    return Interval(value=value, low=value * math.exp(-reach), high=value * math.exp(reach))


def paired_accuracy_ratio(first: Sequence[bool], second: Sequence[bool], *, level: float = 0.95) -> Interval | None:
    r"""Ratio of two accuracies on the same items, ``first / second``, by log-delta with the items' covariance.

    .. math:: \mathrm{Var} \ln \frac{p_1}{p_2} \approx \frac{n_{10} + n_{01}}{n^2 p_1 p_2}

    with :math:`n_{10}` and :math:`n_{01}` the items on which only one of the two is right. Two models that agree on
    every item have a ratio of exactly 1.

    Returns
    -------
    Interval or None
        None where either has no right answer.
    """
    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != two.shape or one.ndim != 1 or one.size == 0:
        raise InputError(f"first has shape {one.shape} and second {two.shape}; give the same items, one or more")
    right_one, right_two = int(one.sum()), int(two.sum())
    if min(right_one, right_two) == 0:
        return None
    discordant = int((one != two).sum())
    reach = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt(discordant / (right_one * right_two))
    value = right_one / right_two
    return Interval(value=value, low=value * math.exp(-reach), high=value * math.exp(reach))


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} is {value}; give a finite number above 0")
    return value


def _not_negative(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{name} is {value}; give a finite number of 0 or more")
    return value


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value}; a share lies between 0 and 1")
    return value
