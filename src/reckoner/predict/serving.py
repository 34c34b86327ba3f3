"""From the times of a decode step and of prefills to what a client sees, under a static, a closed and an open loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from reckoner.physics.arrays import Floats, maximum, minimum, where
from reckoner.physics.queueing import md1_wait_s
from reckoner.predict.combine import beyond, closed_loop_ttft_s

_HALVINGS = 40  # of the batch, when an open loop's is searched: to 1e-12 of the largest
_LEAST_LEFT = 1e-9  # an overloaded server's steps take for ever; a floor keeps the division finite


class Times(NamedTuple):
    """What a client sees, in seconds."""

    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats


def static_times(step_s: Floats, whole_s: Floats, output_tokens: Floats) -> Times:
    """Times of a batch that starts and ends together; the prefill yields the first token.

    >>> static_times(0.01, 0.5, 101.0)
    Times(ttft_s=0.5, tpot_s=0.01, e2e_s=1.5)
    """
    return Times(whole_s, step_s, whole_s + (output_tokens - 1.0) * step_s)


def closed_loop_times(
    step_s: Floats,
    own_s: Floats,
    waited_s: Floats,
    riding_s: Floats,
    batch: Floats,
    output_tokens: Floats,
    queue: Floats,
) -> Times:
    """Times where each place of the batch gets a new request as soon as it is free.

    Parameters
    ----------
    step_s, own_s : (...) float
        Decode step, and prefill of one prompt alone. [s]
    waited_s, riding_s : (...) float
        Prefills of all the batch's prompts, as far as a first token waits for them, and as far as decode steps carry
        them; those of the other places hold up each request once in its lifetime. [s]
    batch, output_tokens : (...) float
        Places, and tokens of an answer.
    queue : (...) float
        Fitted size of the prefill queue.

    Returns
    -------
    Times
        For one place, those of a static batch of one.
    """
    others = 1.0 - 1.0 / batch
    tpot_s = step_s + others * riding_s / output_tokens
    # A lone client finds no step running.
    ttft_s = where(batch > 1.0, closed_loop_ttft_s(own_s, step_s, others * waited_s, output_tokens, queue), own_s)
    return Times(ttft_s, tpot_s, ttft_s + (output_tokens - 1.0) * tpot_s)


def scaled(times: Times, ttft: Floats, tpot: Floats, least: Times, output_tokens: Floats) -> Times:
    """Times with learned factors on what the first token and the gaps take beyond the printed limits."""
    ttft_s = beyond(least.ttft_s, times.ttft_s, ttft)
    tpot_s = beyond(least.tpot_s, times.tpot_s, tpot)
    return Times(ttft_s, tpot_s, ttft_s + (output_tokens - 1.0) * tpot_s)


def open_loop_times(
    step_s: Callable[[Floats], Floats],
    own_s: Floats,
    work_s: Floats,
    arrivals_per_s: Floats,
    batch: Floats,
    output_tokens: Floats,
) -> tuple[Times, Floats]:
    r"""Times where requests arrive at random, and the mean number inside.

    .. math:: B = \lambda \, T(B)

    Parameters
    ----------
    step_s : callable
        Decode step of a batch that is at least 1. [s]
    own_s, work_s : (...) float
        Prefill of one prompt, and what it costs the steps that it rides on. [s]
    arrivals_per_s : (...) float
        Poisson arrivals at one replica, above 0. [1/s]
    batch : (...) float
        Most sequences at once.
    output_tokens : (...) float
        Tokens of an answer.

    Returns
    -------
    times : Times
        Infinite first token and request where arrivals exceed what the full batch serves.
    inside : (...) float
        Mean number of requests inside, at most ``batch``.

    Notes
    -----
    Prefills wait for each other as in an M/D/1 queue. The number inside is searched by halving: with stable arrivals
    the time in the system grows more slowly than the number inside.

    References
    ----------
    .. [1] J. D. C. Little, Operations Research 9(3), 1961. doi:10.1287/opre.9.3.383
    """
    wait_s = md1_wait_s(arrivals_per_s, work_s)
    left = maximum(1.0 - arrivals_per_s * work_s, _LEAST_LEFT)  # share of time in which no prefill holds up the steps

    def times(inside: Floats) -> Times:
        now_s = step_s(maximum(inside, 1.0))
        ttft_s = own_s + 0.5 * minimum(inside, 1.0) * now_s + wait_s
        tpot_s = now_s / left
        return Times(ttft_s, tpot_s, ttft_s + (output_tokens - 1.0) * tpot_s)

    overloaded = arrivals_per_s * times(batch).e2e_s > batch
    low: Floats = 0.0
    high: Floats = batch
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        more = arrivals_per_s * times(middle).e2e_s > middle
        low, high = where(more, middle, low), where(more, high, middle)
    served = times(high)
    full_s = step_s(batch) + (batch - 1.0) * work_s / output_tokens
    return (
        Times(
            where(overloaded, math.inf, served.ttft_s),
            where(overloaded, full_s, served.tpot_s),
            where(overloaded, math.inf, served.e2e_s),
        ),
        where(overloaded, batch, high),
    )
