"""Availability of what is kept in several copies."""

from __future__ import annotations

import math

import numpy as np


def k_of_n(needed: int, total: int, each: float) -> float:
    r"""Probability that at least ``needed`` of ``total`` independent copies are in service.

    .. math:: \sum_{f=0}^{n-k} \binom{n}{f} (1-a)^f a^{n-f}

    Parameters
    ----------
    needed, total : int
        Copies :math:`k` that suffice, and those there are :math:`n`.
    each : float
        Share of time :math:`a` that one copy is in service, above 0 and below 1.

    Returns
    -------
    float
        Probability; 0 where more are needed than there are, 1 where none is.

    References
    ----------
    .. [1] R. E. Barlow, F. Proschan, "Mathematical Theory of Reliability", Wiley 1965 (systems of
       which k of n independent parts must work).

    Examples
    --------
    Two of three, each up nine days in ten: 0.9^3 + 3 x 0.9^2 x 0.1.

    >>> round(k_of_n(2, 3, 0.9), 6)
    0.972
    """
    if needed > total:
        return 0.0
    if needed <= 0:
        return 1.0
    failed = np.arange(1, total - needed + 1, dtype=np.float64)
    steps = np.log((total - failed + 1.0) / failed) + (math.log1p(-each) - math.log(each))
    logs = total * math.log(each) + np.concatenate(([0.0], np.cumsum(steps)))
    return min(1.0, float(np.exp(logs).sum()))
