"""Drift of a distribution: the population stability index, its usual thresholds, and what it costs in accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

SMOOTHING = 1e-6  # added to every share, so that an empty bin gives a large number and not infinity (assumption)
MODERATE, MAJOR = 0.10, 0.25  # N. Siddiqi, "Credit Risk Scorecards", Wiley 2006, ch. 9


def psi(expected: ArrayLike, actual: ArrayLike, smoothing: float = SMOOTHING) -> float:
    r"""Population stability index between two histograms over the same bins.

    .. math:: \sum_i (q_i - p_i) \ln \frac{q_i}{p_i}

    Parameters
    ----------
    expected, actual : (bins,) float
        Counts or shares, each scaled to a sum of 1: :math:`p` and :math:`q`.
    smoothing : float
        Added to each share before scaling again.

    Returns
    -------
    float
        Index: 0 where both agree, symmetric in its arguments.

    Raises
    ------
    ValueError
        The bins differ in number, a count is negative, or a histogram is empty.

    References
    ----------
    .. [1] H. Jeffreys, "An invariant form for the prior probability", Proc. Royal Society A 186, 1946 (the symmetric
       divergence that credit scoring calls PSI). doi:10.1098/rspa.1946.0056

    Examples
    --------
    >>> round(psi([50, 50], [60, 40]), 4), psi([1, 2, 3], [10, 20, 30])
    (0.0405, 0.0)
    """
    p, q = _shares(expected, "expected", smoothing), _shares(actual, "actual", smoothing)
    if p.shape != q.shape:
        raise ValueError(f"expected has {p.size} bins and actual {q.size}; count both over the same bins")
    return float(np.sum((q - p) * np.log(q / p)))


def _shares(counts: ArrayLike, name: str, smoothing: float) -> np.ndarray:
    values = np.asarray(counts, dtype=np.float64)
    if values.ndim != 1 or not values.sum() > 0 or (values < 0).any():
        raise ValueError(f"{name} must be one row of counts that are not negative and not all zero; seen {values!r}")
    smoothed = values / values.sum() + smoothing
    shares: np.ndarray = smoothed / smoothed.sum()
    return shares


def verdict(index: float) -> str:
    """Word for an index: "stable" below 0.10, "moderate" below 0.25, "major" from there on.

    Notes
    -----
    Assumption: the usual rule of thumb of credit scoring.

    Examples
    --------
    >>> verdict(0.09), verdict(0.10), verdict(0.25)
    ('stable', 'moderate', 'major')
    """
    if index < MODERATE:
        return "stable"
    return "moderate" if index < MAJOR else "major"


def accuracy_after(accuracy: float, loss_per_psi: float, psi_per_day: float, days: float) -> float:
    r"""Accuracy after some days of steady drift.

    .. math:: \max(0, A_0 - \lambda \, \dot D \, t)

    Parameters
    ----------
    accuracy : float
        Accuracy :math:`A_0` on the day of training.
    loss_per_psi : float
        Accuracy :math:`\lambda` lost per unit of PSI, measured for this model.
    psi_per_day : float
        Drift :math:`\dot D` of the input a day; a property of the traffic, stated apart. [1/day]
    days : float
        Days :math:`t` since training.

    Returns
    -------
    float
        Accuracy.

    Notes
    -----
    Assumption: a line, for want of a law; the slope is to be measured.

    Examples
    --------
    >>> round(accuracy_after(0.9, 0.4, 0.005, 30), 3)
    0.84
    """
    return max(0.0, accuracy - loss_per_psi * psi_per_day * days)
