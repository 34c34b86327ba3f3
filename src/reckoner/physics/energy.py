"""Energy and carbon: power that follows utilisation, joules a token, grams of CO2 equivalent."""

from __future__ import annotations

from numpy.typing import ArrayLike

from reckoner.physics.arrays import Floats, asfloats

JOULES_PER_KWH = 3.6e6


def power_w(idle_w: ArrayLike, tdp_w: ArrayLike, utilisation: ArrayLike) -> Floats:
    r"""Power of a device at a given utilisation, linear between idle and full load.

    .. math:: P = P_0 + (P_{max} - P_0) \, u

    Parameters
    ----------
    idle_w, tdp_w : (...) float
        Power :math:`P_0` at rest and :math:`P_{max}` at full load. [W]
    utilisation : (...) float
        Utilisation :math:`u`, 0 to 1.

    Returns
    -------
    (...) float
        Power. [W]

    References
    ----------
    .. [1] X. Fan, W.-D. Weber, L. A. Barroso, "Power Provisioning for a Warehouse-sized Computer", ISCA 2007, sec. 3.
       doi:10.1145/1250662.1250665

    Examples
    --------
    >>> power_w(100, 700, 0.5)
    400.0
    """
    idle = asfloats(idle_w)
    return idle + (asfloats(tdp_w) - idle) * asfloats(utilisation)


def joules_per_token(power: ArrayLike, tokens_per_s: ArrayLike, pue: ArrayLike = 1.0) -> Floats:
    r"""Energy of one output token.

    .. math:: E = P \, \mathrm{PUE} / r

    Parameters
    ----------
    power : (...) float
        Power :math:`P` of all devices together. [W]
    tokens_per_s : (...) float
        Output tokens :math:`r` of the whole system. [token/s]
    pue : (...) float
        Power usage effectiveness of the building, at least 1.

    Returns
    -------
    (...) float
        Energy. [J/token]

    References
    ----------
    .. [1] ISO/IEC 30134-2:2016 (power usage effectiveness).

    Examples
    --------
    >>> joules_per_token(700, 3500)
    0.2
    """
    return asfloats(power) * asfloats(pue) / asfloats(tokens_per_s)


def carbon_g(joules: ArrayLike, grams_per_kwh: ArrayLike, pue: ArrayLike = 1.0) -> Floats:
    r"""Carbon dioxide equivalent of an amount of electric energy.

    .. math:: m = E \, \mathrm{PUE} \, c / (3.6 \cdot 10^6)

    Parameters
    ----------
    joules : (...) float
        Energy :math:`E` at the device. [J]
    grams_per_kwh : (...) float
        Carbon intensity :math:`c` of the grid. [g/kWh]
    pue : (...) float
        Power usage effectiveness, at least 1; leave 1 where ``joules`` holds it already.

    Returns
    -------
    (...) float
        Emission. [g]

    References
    ----------
    .. [1] GHG Protocol, "Scope 2 Guidance", 2015, sec. 6.

    Examples
    --------
    One kilowatt-hour at 400 g/kWh in a building of PUE 1.2:

    >>> carbon_g(3.6e6, 400, 1.2)
    480.0
    """
    return asfloats(joules) * asfloats(pue) * asfloats(grams_per_kwh) / JOULES_PER_KWH
