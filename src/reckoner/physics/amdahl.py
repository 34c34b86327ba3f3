"""Amdahl's law: what cannot be shared out limits what sharing buys."""

from __future__ import annotations

from numpy.typing import ArrayLike

from reckoner.physics.arrays import Floats, asfloats


def speedup(serial: ArrayLike, workers: ArrayLike) -> Floats:
    r"""Speed-up of a job of which a share cannot be divided.

    .. math:: \frac{1}{s + (1 - s)/N}

    Parameters
    ----------
    serial : (...) float
        Share :math:`s` that stays serial, 0 to 1.
    workers : (...) float
        Workers :math:`N`, at least 1.

    Returns
    -------
    (...) float
        Speed-up, from 1 to at most :math:`1/s`.

    References
    ----------
    .. [1] G. M. Amdahl, "Validity of the single processor approach", AFIPS 1967. doi:10.1145/1465482.1465560

    Examples
    --------
    >>> round(speedup(0.1, 8), 3)
    4.706
    """
    s = asfloats(serial)
    return 1.0 / (s + (1.0 - s) / asfloats(workers))
