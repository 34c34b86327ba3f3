"""The roofline: work takes as long as the slower of moving its bytes and doing its arithmetic."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from reckoner.physics.arrays import Floats, asfloats, maximum, minimum, power, sqrt

_TINY = 1e-300  # keeps 0/0 away; no physical time is this short


def intensity(flops: ArrayLike, moved_bytes: ArrayLike) -> Floats:
    r"""Arithmetic intensity.

    .. math:: I = F / Q

    Parameters
    ----------
    flops : (...) float
        Floating-point operations :math:`F`. [FLOP]
    moved_bytes : (...) float
        Bytes :math:`Q` moved to and from memory. [byte]

    Returns
    -------
    (...) float
        Intensity. [FLOP/byte]

    References
    ----------
    .. [1] S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52(4), 2009. doi:10.1145/1498765.1498785

    Examples
    --------
    One token through 8e9 bf16 weights:

    >>> intensity(16e9, 16e9)
    1.0
    """
    return asfloats(flops) / asfloats(moved_bytes)


def ridge(peak_flop_per_s: ArrayLike, bandwidth_bytes_per_s: ArrayLike) -> Floats:
    r"""Intensity at which memory and arithmetic take equally long.

    .. math:: I^* = P / \beta

    Parameters
    ----------
    peak_flop_per_s : (...) float
        Peak arithmetic :math:`P`, dense. [FLOP/s]
    bandwidth_bytes_per_s : (...) float
        Memory bandwidth :math:`\beta`. [byte/s]

    Returns
    -------
    (...) float
        Ridge point. [FLOP/byte]

    References
    ----------
    .. [1] S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52(4), 2009. doi:10.1145/1498765.1498785

    Examples
    --------
    H100 SXM in bf16:

    >>> round(ridge(989.4e12, 3.35e12), 1)
    295.3
    """
    return asfloats(peak_flop_per_s) / asfloats(bandwidth_bytes_per_s)


def attainable(intensity_: ArrayLike, peak_flop_per_s: ArrayLike, bandwidth_bytes_per_s: ArrayLike) -> Floats:
    r"""Arithmetic rate that a kernel of given intensity can reach.

    .. math:: \min(P, I \beta)

    Parameters
    ----------
    intensity_ : (...) float
        Arithmetic intensity :math:`I`. [FLOP/byte]
    peak_flop_per_s : (...) float
        Peak arithmetic :math:`P`. [FLOP/s]
    bandwidth_bytes_per_s : (...) float
        Memory bandwidth :math:`\beta`. [byte/s]

    Returns
    -------
    (...) float
        Rate. [FLOP/s]

    References
    ----------
    .. [1] S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52(4), 2009. doi:10.1145/1498765.1498785

    Examples
    --------
    >>> attainable([1, 1000], 100.0, 10.0).tolist()
    [10.0, 100.0]
    """
    return minimum(asfloats(peak_flop_per_s), asfloats(intensity_) * asfloats(bandwidth_bytes_per_s))


def time(
    flops: ArrayLike, moved_bytes: ArrayLike, peak_flop_per_s: ArrayLike, bandwidth_bytes_per_s: ArrayLike
) -> Floats:
    r"""Least time of a piece of work whose transfers and arithmetic overlap perfectly.

    .. math:: t = \max(F / P, \; Q / \beta)

    Parameters
    ----------
    flops : (...) float
        Operations :math:`F`. [FLOP]
    moved_bytes : (...) float
        Bytes :math:`Q`. [byte]
    peak_flop_per_s : (...) float
        Peak arithmetic :math:`P`. [FLOP/s]
    bandwidth_bytes_per_s : (...) float
        Memory bandwidth :math:`\beta`. [byte/s]

    Returns
    -------
    (...) float
        Lower bound of the time. [s]

    References
    ----------
    .. [1] S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52(4), 2009. doi:10.1145/1498765.1498785

    Examples
    --------
    7e9 bytes at 6.7e12 byte/s (two H100), one token: 1.045 ms.

    >>> round(time(14e9, 7e9, 2 * 1978.9e12, 6.7e12) * 1e3, 3)
    1.045
    """
    compute_s = asfloats(flops) / asfloats(peak_flop_per_s)
    return maximum(compute_s, asfloats(moved_bytes) / asfloats(bandwidth_bytes_per_s))


def smooth_maximum(a: ArrayLike, b: ArrayLike, order: ArrayLike = 4.0) -> Floats:
    r"""Maximum with a rounded corner: two resources that are both nearly full get in each other's way.

    .. math:: (a^p + b^p)^{1/p}

    Parameters
    ----------
    a, b : (...) float
        Numbers that are not negative, in one unit.
    order : (...) float
        Sharpness :math:`p`, at least 1: a sum at 1, the maximum in the limit. The default 4 is an assumption that
        the efficiencies are fitted with.

    Returns
    -------
    (...) float
        Between the maximum and :math:`2^{1/p}` times it, in the unit of the inputs.

    Notes
    -----
    Scaled by the maximum first, so that neither tiny nor huge times under- or overflow.

    Examples
    --------
    >>> smooth_maximum(3.0, 4.0, 2), round(smooth_maximum(1.0, 1.0), 3)
    (5.0, 1.189)
    """
    x, y = asfloats(a), asfloats(b)
    if type(x) is float and type(y) is float and order == 4.0:  # the innermost call of a prediction
        corner = ((x / y if y > x else y / x) if x or y else 0.0) ** 4
        return max(x, y) * math.sqrt(math.sqrt(1.0 + corner))
    large, small = maximum(x, y), minimum(x, y)
    ratio = small / maximum(large, _TINY)
    if isinstance(order, float) and order == 4.0:  # squares and roots are ten times as fast as powers
        square = ratio * ratio
        return large * sqrt(sqrt(1.0 + square * square))
    p = asfloats(order)
    return large * power(1.0 + power(ratio, p), 1.0 / p)
