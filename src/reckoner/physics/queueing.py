"""Queues: waiting, sojourn and their quantiles. An overloaded queue waits for ever, and the functions say ``inf``."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from reckoner.physics.arrays import Floats, asfloats, log, maximum, where


def little_number(arrivals_per_s: ArrayLike, time_s: ArrayLike) -> Floats:
    r"""Mean number present, from the arrival rate and the mean time each one stays.

    .. math:: L = \lambda \, W

    Parameters
    ----------
    arrivals_per_s : (...) float
        Arrival rate :math:`\lambda`. [1/s]
    time_s : (...) float
        Mean time :math:`W`: sojourn gives the number in the *system*, waiting time the number in the *queue*. [s]

    Returns
    -------
    (...) float
        Mean number.

    References
    ----------
    .. [1] J. D. C. Little, "A Proof for the Queuing Formula L = lambda W", Operations Research 9(3), 1961.
       doi:10.1287/opre.9.3.383

    Examples
    --------
    >>> little_number(10, 0.4)
    4.0
    """
    return asfloats(arrivals_per_s) * asfloats(time_s)


def mm1_sojourn_s(arrivals_per_s: ArrayLike, service_s: ArrayLike) -> Floats:
    r"""Mean time in an M/M/1 system, waiting and service.

    .. math:: T = \frac{s}{1 - \rho}, \quad \rho = \lambda s

    Parameters
    ----------
    arrivals_per_s : (...) float
        Poisson arrivals :math:`\lambda`. [1/s]
    service_s : (...) float
        Mean of exponential service :math:`s`. [s]

    Returns
    -------
    (...) float
        Mean sojourn; infinite from :math:`\rho = 1` on. [s]

    References
    ----------
    .. [1] L. Kleinrock, "Queueing Systems", vol. 1, Wiley 1975, sec. 3.2.

    Examples
    --------
    >>> round(mm1_sojourn_s(8, 0.1), 12), mm1_sojourn_s(12, 0.1)
    (0.5, inf)
    """
    s = asfloats(service_s)
    return _over_spare(s, asfloats(arrivals_per_s) * s)


def mm1_sojourn_quantile_s(arrivals_per_s: ArrayLike, service_s: ArrayLike, q: ArrayLike) -> Floats:
    r"""Quantile of the time in an M/M/1 system, first come, first served; it is exponential.

    .. math:: T_q = T \, \ln \frac{1}{1 - q}

    Parameters
    ----------
    arrivals_per_s, service_s : (...) float
        As in :func:`mm1_sojourn_s`.
    q : (...) float
        Probability, 0 to below 1.

    Returns
    -------
    (...) float
        Quantile. [s]

    Notes
    -----
    The 99th percentile is ln 100 = 4.6 times the mean sojourn at *every* load; against the service time it is 23 times
    at 80 %.

    References
    ----------
    .. [1] L. Kleinrock, "Queueing Systems", vol. 1, Wiley 1975, sec. 5.6.

    Examples
    --------
    >>> round(mm1_sojourn_quantile_s(8, 0.1, 0.99) / 0.1, 1)
    23.0
    """
    return mm1_sojourn_s(arrivals_per_s, service_s) * -log(1.0 - asfloats(q))


def erlang_b(servers: int, offered: ArrayLike) -> Floats:
    r"""Probability that all servers are busy in a system that turns callers away.

    .. math:: B_0 = 1, \quad B_n = \frac{a B_{n-1}}{n + a B_{n-1}}

    Parameters
    ----------
    servers : int
        Servers.
    offered : (...) float
        Offered load :math:`a = \lambda s`, in erlang.

    Returns
    -------
    (...) float
        Probability.

    Notes
    -----
    The recursion neither over- nor underflows, unlike the sum of factorials.

    References
    ----------
    .. [1] R. B. Cooper, "Introduction to Queueing Theory", 2nd ed., North Holland 1981, sec. 3.3.

    Examples
    --------
    >>> round(erlang_b(5, 3.0), 4)
    0.1101
    """
    a = asfloats(offered)
    blocked: Floats = 1.0 + 0.0 * a
    for n in range(1, servers + 1):
        blocked = a * blocked / (n + a * blocked)
    return blocked


def erlang_c(servers: int, offered: ArrayLike) -> Floats:
    r"""Probability that an arrival must wait in an M/M/c queue.

    .. math:: C = \frac{B}{1 - \rho (1 - B)}, \quad \rho = a / c

    Parameters
    ----------
    servers : int
        Servers :math:`c`.
    offered : (...) float
        Offered load :math:`a`, in erlang.

    Returns
    -------
    (...) float
        Probability; 1 from :math:`\rho = 1` on.

    References
    ----------
    .. [1] R. B. Cooper, "Introduction to Queueing Theory", 2nd ed., North Holland 1981, sec. 3.4.

    Examples
    --------
    >>> round(erlang_c(5, 3.0), 4)
    0.2362
    """
    a = asfloats(offered)
    b = erlang_b(servers, a)
    rho = a / servers
    stable = rho < 1.0
    return where(stable, b / where(stable, 1.0 - rho * (1.0 - b), 1.0), 1.0)


def mmc_wait_s(servers: int, arrivals_per_s: ArrayLike, service_s: ArrayLike) -> Floats:
    r"""Mean wait in an M/M/c queue.

    .. math:: W_q = \frac{C \, s}{c \, (1 - \rho)}

    Parameters
    ----------
    servers : int
        Servers :math:`c`.
    arrivals_per_s : (...) float
        Poisson arrivals :math:`\lambda`. [1/s]
    service_s : (...) float
        Mean of exponential service :math:`s`. [s]

    Returns
    -------
    (...) float
        Mean wait before service; infinite when overloaded. [s]

    References
    ----------
    .. [1] L. Kleinrock, "Queueing Systems", vol. 1, Wiley 1975, sec. 3.5.

    Examples
    --------
    >>> round(mmc_wait_s(2, 1.0, 1.0), 4)
    0.3333
    """
    s = asfloats(service_s)
    offered = asfloats(arrivals_per_s) * s
    return _over_spare(erlang_c(servers, offered) * s / servers, offered / servers)


def mmc_wait_quantile_s(servers: int, arrivals_per_s: ArrayLike, service_s: ArrayLike, q: ArrayLike) -> Floats:
    r"""Quantile of the wait in an M/M/c queue, first come, first served.

    .. math:: W_q(q) = \max\left(0, \; \frac{s}{c (1 - \rho)} \ln \frac{C}{1 - q}\right)

    Parameters
    ----------
    servers, arrivals_per_s, service_s
        As in :func:`mmc_wait_s`.
    q : (...) float
        Probability, 0 to below 1.

    Returns
    -------
    (...) float
        Quantile; 0 where that share is served at once. [s]

    References
    ----------
    .. [1] R. B. Cooper, "Introduction to Queueing Theory", 2nd ed., North Holland 1981, sec. 3.4.

    Examples
    --------
    >>> mmc_wait_quantile_s(100, 1.0, 1.0, 0.99)
    0.0
    """
    s = asfloats(service_s)
    offered = asfloats(arrivals_per_s) * s
    # 1 - q as a floor of C keeps the logarithm at 0 where nobody in that quantile waits.
    late = maximum(erlang_c(servers, offered), 1.0 - asfloats(q))
    return _over_spare(s / servers * log(late / (1.0 - asfloats(q))), offered / servers)


def mg1_wait_s(arrivals_per_s: ArrayLike, service_s: ArrayLike, service_cv2: ArrayLike) -> Floats:
    r"""Mean wait in an M/G/1 queue: Pollaczek and Khinchine.

    .. math:: W_q = \frac{\rho \, s}{1 - \rho} \cdot \frac{1 + c_s^2}{2}

    Parameters
    ----------
    arrivals_per_s : (...) float
        Poisson arrivals :math:`\lambda`. [1/s]
    service_s : (...) float
        Mean service :math:`s`. [s]
    service_cv2 : (...) float
        Squared coefficient of variation :math:`c_s^2` of the service time: 0 fixed, 1 exponential.

    Returns
    -------
    (...) float
        Mean wait before service; infinite when overloaded. [s]

    References
    ----------
    .. [1] L. Kleinrock, "Queueing Systems", vol. 1, Wiley 1975, sec. 5.6.

    Examples
    --------
    >>> round(mg1_wait_s(8, 0.1, 1.0), 12)
    0.4
    """
    s = asfloats(service_s)
    rho = asfloats(arrivals_per_s) * s
    return _over_spare(rho * s * (1.0 + asfloats(service_cv2)) / 2.0, rho)


def md1_wait_s(arrivals_per_s: ArrayLike, service_s: ArrayLike) -> Floats:
    r"""Mean wait in an M/D/1 queue, whose service always takes equally long: half that of M/M/1.

    .. math:: W_q = \frac{\rho \, s}{2 (1 - \rho)}

    Parameters
    ----------
    arrivals_per_s : (...) float
        Poisson arrivals :math:`\lambda`. [1/s]
    service_s : (...) float
        Service time :math:`s`. [s]

    Returns
    -------
    (...) float
        Mean wait before service; infinite when overloaded. [s]

    References
    ----------
    .. [1] L. Kleinrock, "Queueing Systems", vol. 1, Wiley 1975, sec. 5.6.

    Examples
    --------
    >>> round(md1_wait_s(8, 0.1), 12)
    0.2
    """
    return mg1_wait_s(arrivals_per_s, service_s, 0.0)


def kingman_wait_s(
    arrivals_per_s: ArrayLike, service_s: ArrayLike, arrival_cv2: ArrayLike, service_cv2: ArrayLike
) -> Floats:
    r"""Approximate mean wait in a G/G/1 queue; exact for M/M/1, and in the limit of heavy traffic.

    .. math:: W_q \approx \frac{\rho \, s}{1 - \rho} \cdot \frac{c_a^2 + c_s^2}{2}

    Parameters
    ----------
    arrivals_per_s : (...) float
        Arrivals :math:`\lambda`. [1/s]
    service_s : (...) float
        Mean service :math:`s`. [s]
    arrival_cv2, service_cv2 : (...) float
        Squared coefficients of variation of gaps between arrivals and of service.

    Returns
    -------
    (...) float
        Mean wait before service; infinite when overloaded. [s]

    References
    ----------
    .. [1] J. F. C. Kingman, "The single server queue in heavy traffic", Math. Proc. Cambridge 57(4), 1961.
       doi:10.1017/S0305004100036094

    Examples
    --------
    >>> round(kingman_wait_s(8, 0.1, 4.0, 1.0), 12)
    1.0
    """
    s = asfloats(service_s)
    rho = asfloats(arrivals_per_s) * s
    return _over_spare(rho * s * (asfloats(arrival_cv2) + asfloats(service_cv2)) / 2.0, rho)


def allen_cunneen_wait_s(
    servers: int, arrivals_per_s: ArrayLike, service_s: ArrayLike, arrival_cv2: ArrayLike, service_cv2: ArrayLike
) -> Floats:
    r"""Approximate mean wait in a G/G/c queue: that of M/M/c times the variability.

    .. math:: W_q \approx W_q^{M/M/c} \cdot \frac{c_a^2 + c_s^2}{2}

    Parameters
    ----------
    servers : int
        Servers.
    arrivals_per_s, service_s, arrival_cv2, service_cv2 : (...) float
        As in :func:`kingman_wait_s`.

    Returns
    -------
    (...) float
        Mean wait before service; infinite when overloaded. [s]

    References
    ----------
    .. [1] A. O. Allen, "Probability, Statistics, and Queueing Theory", 2nd ed., Academic Press 1990, sec. 5.4.

    Examples
    --------
    >>> round(allen_cunneen_wait_s(2, 1.0, 1.0, 1.0, 0.0), 4)
    0.1667
    """
    variability = (asfloats(arrival_cv2) + asfloats(service_cv2)) / 2.0
    return mmc_wait_s(servers, arrivals_per_s, service_s) * variability


def servers_needed(arrivals_per_s: float, capacity_per_s: float, headroom: float = 0.0) -> int:
    r"""Replicas that a demand calls for.

    .. math:: \lceil \lambda (1 + h) / \mu \rceil

    Parameters
    ----------
    arrivals_per_s : float
        Demand :math:`\lambda`. [1/s]
    capacity_per_s : float
        Capacity :math:`\mu` of one replica. [1/s]
    headroom : float
        Spare share :math:`h`, 0 for none.

    Returns
    -------
    int
        Replicas, at least 1.

    Notes
    -----
    A definition: waiting is left to the headroom.

    Examples
    --------
    >>> servers_needed(1000, 64, 0.2)
    19
    """
    return max(1, math.ceil(arrivals_per_s * (1.0 + headroom) / capacity_per_s))


def _over_spare(work: Floats, rho: Floats) -> Floats:
    """``work / (1 - rho)``; infinite from full load on, never a negative wait."""
    stable = rho < 1.0
    return where(stable, work / where(stable, 1.0 - rho, 1.0), math.inf)
