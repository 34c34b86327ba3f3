"""Two impossibility results of fairness as identities that can be checked with numbers."""

from __future__ import annotations

from numpy.typing import ArrayLike

from reckoner.physics.arrays import Floats, asfloats


def false_positive_rate(base_rate: ArrayLike, ppv: ArrayLike, fnr: ArrayLike) -> Floats:
    r"""False positive rate that base rate, precision and false negative rate leave no choice about.

    .. math:: \mathrm{FPR} = \frac{p}{1 - p} \cdot \frac{1 - \mathrm{PPV}}{\mathrm{PPV}} \, (1 - \mathrm{FNR})

    Parameters
    ----------
    base_rate : (...) float
        Share :math:`p` of positives in the group, between 0 and 1.
    ppv : (...) float
        Positive predictive value (precision), above 0.
    fnr : (...) float
        False negative rate.

    Returns
    -------
    (...) float
        False positive rate; above 1 where no classifier has these three figures.

    Notes
    -----
    Hence two groups with different base rates and equal PPV cannot have equal FPR and FNR as well, unless precision
    is perfect. That is about *predictive parity*; calibrated scores are the matter of :func:`balanced_base_rate`.

    References
    ----------
    .. [1] A. Chouldechova, "Fair prediction with disparate impact", Big Data 5(2), 2017, eq. 2.6. arXiv:1703.00056

    Examples
    --------
    100 people, 40 positive; 30 found, 10 missed, 10 false alarms: FPR 10/60.

    >>> round(false_positive_rate(0.4, 0.75, 0.25), 4)
    0.1667
    """
    p, v = asfloats(base_rate), asfloats(ppv)
    return p / (1.0 - p) * (1.0 - v) / v * (1.0 - asfloats(fnr))


def false_positive_gap(base_a: ArrayLike, base_b: ArrayLike, ppv: ArrayLike, fnr: ArrayLike) -> Floats:
    """Difference in false positive rate that equal PPV and FNR force upon two groups.

    Parameters
    ----------
    base_a, base_b : (...) float
        Base rates of the groups.
    ppv, fnr : (...) float
        Figures that both groups share.

    Returns
    -------
    (...) float
        FPR of group a less that of group b; zero only for equal base rates or perfect precision.

    References
    ----------
    .. [1] A. Chouldechova, Big Data 5(2), 2017, sec. 2.2. arXiv:1703.00056

    Examples
    --------
    >>> round(false_positive_gap(0.5, 0.3, 0.8, 0.2), 4)
    0.1143
    """
    return false_positive_rate(base_a, ppv, fnr) - false_positive_rate(base_b, ppv, fnr)


def balanced_base_rate(mean_score_positive: float, mean_score_negative: float) -> float | None:
    r"""Only base rate at which a calibrated score has these class means.

    .. math:: p = p \, s_+ + (1 - p) \, s_- \quad\Rightarrow\quad p = \frac{s_-}{1 - s_+ + s_-}

    Parameters
    ----------
    mean_score_positive, mean_score_negative : float
        Mean scores :math:`s_+` of true positives' and :math:`s_-` of true negatives' members, each in [0, 1].

    Returns
    -------
    float or None
        The base rate; None for perfect prediction (1 and 0), which suits any.

    Notes
    -----
    A calibrated score averages to the base rate. If two groups share both class means (balance), they share the
    base rate: calibration and balance for unequal groups need perfect prediction.

    References
    ----------
    .. [1] J. Kleinberg, S. Mullainathan, M. Raghavan, "Inherent Trade-Offs in the Fair Determination of Risk Scores",
       ITCS 2017, theorem 1.1. arXiv:1609.05807

    Examples
    --------
    >>> round(balanced_base_rate(0.7, 0.2), 3), balanced_base_rate(1.0, 0.0)
    (0.4, None)
    """
    slack = 1.0 - mean_score_positive + mean_score_negative
    return None if slack == 0.0 else mean_score_negative / slack
