"""Prompts read on servers of their own: rates balance, caches travel, and what a client sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reckoner.physics.arrays import Floats, maximum, minimum, where
from reckoner.physics.queueing import md1_wait_s
from reckoner.predict.combine import BURST_SHARE, WAIT_SHARE
from reckoner.predict.serving import Times

_HALVINGS = 40  # of the places: to 1e-12 of them
_LEAST_S = 1e-12  # of decoding: an answer of one token takes none


class Pools(NamedTuple):
    """What a client sees; requests that decode at once on one decode server, and requests that it completes."""

    times: Times
    inside: Floats
    requests_per_s: Floats


def pooled(
    gap_s: Callable[[Floats], Floats],
    prefill_s: Floats,
    busy_s: Floats,
    transfer_s: Floats,
    servers: Floats,
    batch: Floats,
    output_tokens: Floats,
    arrivals_per_s: Floats = 0.0,
) -> Pools:
    r"""Times and rate of prefill and decode servers that work for each other.

    .. math:: X = \min\left(\frac{s}{t_b}, \; \frac{N}{t_p + t_x + (n - 1) \, t_d(B)}\right),
        \quad B = X (n - 1) \, t_d(B), \quad \mathrm{TTFT} = N / X - (n - 1) \, t_d(B)

    Parameters
    ----------
    gap_s : callable
        Time of an output token where so many decode at once, at least 1. [s]
    prefill_s : (...) float
        One prompt read alone :math:`t_p`. [s]
    busy_s : (...) float
        What a prompt costs a busy prefill server :math:`t_b`, which reads several in a pass. [s]
    transfer_s : (...) float
        Time :math:`t_x` in which its cache travels, while the next prompts are read. [s]
    servers : (...) float
        Prefill servers a decode server :math:`s`.
    batch : (...) float
        Requests :math:`N` in a closed loop, and most that decode at once, each of one decode server.
    output_tokens : (...) float
        Tokens :math:`n` of an answer; the prefill yields the first.
    arrivals_per_s : (...) float
        Poisson arrivals for one decode server; 0 for the closed loop. [1/s]

    Returns
    -------
    Pools
        The first token and the request take for ever where arrivals exceed what either side serves.

    Notes
    -----
    The closed loop follows the asymptotic laws: each side runs without waiting until the slower one is full, and what
    is left of the requests waits before it; a first token waits at least for the nominal share of the other prompts
    (:data:`~reckoner.predict.combine.WAIT_SHARE`). Arrivals wait for a prefill as in an M/D/1 queue.

    References
    ----------
    .. [1] Y. Zhong et al., "DistServe", OSDI 2024, sec. 4. arXiv:2401.09670
    .. [2] P. J. Denning, J. P. Buzen, "The Operational Analysis of Queueing Network Models", Computing Surveys 10(3),
       1978. doi:10.1145/356733.356735

    Examples
    --------
    Prompts of 0.1 s, caches of 0.02 s, 100 gaps of 10 ms whatever the batch: 8 requests keep 7 places busy.

    >>> found = pooled(lambda b: 0.01, 0.1, 0.1, 0.02, 2.0, 8.0, 101.0)
    >>> round(found.requests_per_s, 3), round(found.inside, 3), round(found.times.ttft_s, 3)
    (7.064, 7.064, 0.133)
    """
    steps = output_tokens - 1.0
    before_s = prefill_s + transfer_s
    read_per_s = servers / busy_s
    opened = arrivals_per_s > 0.0

    def first_s(gap: Floats) -> Floats:
        """Time to first token in the closed loop, as long as the prefill servers keep up."""
        foreign_s = (batch - 1.0) * busy_s / servers
        others = foreign_s / (foreign_s + output_tokens * gap)
        return where(batch > 1.0, before_s + (WAIT_SHARE * others + BURST_SHARE) * foreign_s, before_s)

    def room(inside: Floats) -> bool | NDArray[np.bool_]:
        """Whether more than these decode at once."""
        gap = gap_s(maximum(inside, 1.0))
        fed_per_s = minimum(batch / (first_s(gap) + steps * gap), read_per_s)
        return inside < where(opened, arrivals_per_s, fed_per_s) * steps * gap

    low: Floats = 0.0
    high: Floats = batch
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        more = room(middle)
        low, high = where(more, middle, low), where(more, high, middle)
    gap = gap_s(maximum(high, 1.0))
    decode_s = steps * gap
    closed_per_s = minimum(read_per_s, batch / (first_s(gap) + decode_s))
    closed_ttft_s = batch / closed_per_s - decode_s
    full_s = steps * gap_s(batch)
    most_per_s = minimum(read_per_s, batch / maximum(full_s, _LEAST_S))
    overloaded = np.logical_and(opened, arrivals_per_s >= most_per_s)
    steady_per_s = where(overloaded, 0.0, arrivals_per_s)
    open_ttft_s = where(overloaded, math.inf, before_s + md1_wait_s(steady_per_s / servers, busy_s))
    ttft_s = where(opened, open_ttft_s, closed_ttft_s)
    rate = where(opened, where(overloaded, most_per_s, arrivals_per_s), closed_per_s)
    return Pools(Times(ttft_s, gap, ttft_s + decode_s), high, rate)
