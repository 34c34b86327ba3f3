"""Three scalars from the first answers of a real run: compute efficiency, bandwidth efficiency, cost of a layer.

Beside them the front, which first tokens show where nobody waits; and the size of the cache, only where the run shows
that it is not what memory suggests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Design
from reckoner.errors import InputError
from reckoner.predict.efficiency import Efficiency
from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.prior import BEGUN, SCALARS, Front, Pool, expected_log, front_of, is_served, scaled
from reckoner.simulate.run import simulate
from reckoner.simulate.schedulers import Scheduler
from reckoner.simulate.server import server_of
from reckoner.simulate.simulation import Simulation

Floats = NDArray[np.float64]

LEAST = 10
"""Answers below which three scalars are not fitted. Assumption."""

TTFT_WEIGHT = 0.3  # a first token's wait is noisier than gaps and whole requests. Assumption.
FARTHEST = 0.3  # a logarithm's error counts as at most this: who is preempted is chance. Assumption.
_PULL = 0.01  # of a squared logarithm towards the start: a scalar that nothing speaks of stays put. Assumption.
_COARSE = np.linspace(0.8, 1.2, 17).tolist()  # sizes of the cache that are tried, as shares of what memory suggests
_FINE = np.linspace(0.98, 1.02, 5)  # and around the best of those
_BETTER = 0.4  # share of the misfit below which another size is believed: a fourth scalar must earn it. Assumption.


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was measured of each request of the arrivals, in their order; all of shape (n,), in seconds."""

    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A deployment as its first answers showed it.

    Parameters
    ----------
    efficiency : Efficiency
        With ``mfu``, ``mbu`` and ``layer`` (and their siblings) scaled by one factor each.
    kv_tokens : int or None
        Tokens of the cache: as given, as memory suggests, or, where it ran full and another size explains the answers
        far better, that one. [token]
    front : Front
        What requests spend outside of steps.
    misfit : float
        Mean absolute logarithm of simulated over measured: of gaps and of whole requests, and 0.3 times that of first
        tokens, each error at most 0.3.
    """

    efficiency: Efficiency
    kv_tokens: int | None
    front: Front
    misfit: float


def fit(
    design: Design,
    arrivals: Arrivals,
    observed: Observed,
    *,
    first: int = 60,
    scheduler: Scheduler | None = None,
    kv_tokens: int | None = None,
    pool: Pool | None = None,
) -> Fitted:
    """Scale an efficiency until the simulation's first answers are those that were measured.

    Parameters
    ----------
    design, scheduler
        The deployment.
    arrivals : Arrivals
        All requests of the run, so that the load is right; answers beyond the first are not looked at.
    observed : Observed
        Of all of them; only the ``first`` that were answered count.
    first : int
        Answers to learn from.
    kv_tokens : int, optional
        Tokens of the cache, where the engine states them; by default what memory suggests, or what is learned.
    pool : Pool, optional
        What is known of served deployments, towards which the fit leans; the packaged one by default.

    Raises
    ------
    InputError
        Fewer than :data:`LEAST` answers, or a time that is not above zero.
    """
    if first < LEAST:
        raise InputError(f"first is {first}; it takes at least {LEAST} answers to fit three scalars")
    rows = first_answers(arrivals, observed, first)
    times = np.stack([observed.ttft_s, observed.tpot_s, observed.e2e_s])[:, rows]
    if not np.all(times > 0.0):
        raise InputError(f"an observed time is {float(times.min()):g} s; times are above zero")
    front, expected = Front(seconds=0.0, token_s=0.0, sd=0.0), np.zeros(len(SCALARS))
    if is_served(design):
        front = front_of(design, pool)
        expected[:-1] = expected_log(design, pool)[:-1]  # the front is scaled from what is expected of it
    target = np.log(times)
    suggested = server_of(design, efficiency=BEGUN, scheduler=scheduler, kv_tokens=kv_tokens).kv_tokens

    def delayed(x: Floats) -> Front:
        return replace(front, seconds=front.seconds * float(np.exp(np.clip(x[-1], -5.0, 5.0))))

    def run(x: Floats, tokens: int | None) -> Simulation:
        server = server_of(design, efficiency=scaled(BEGUN, x), scheduler=scheduler, kv_tokens=tokens, front=delayed(x))
        found = simulate(server, arrivals)
        if len(found) != len(arrivals):
            raise InputError("a request of the run is larger than the cache; give kv_tokens as the engine states it")
        return found

    def unexplained(x: Floats) -> float:
        late_s = observed.ttft_s[rows] - (run(x, suggested).latency_s("ttft")[rows] - front.seconds)
        return float(np.log(max(float(np.median(late_s)), 0.1 * front.seconds) / front.seconds))

    def misfit(x: Floats, tokens: int | None) -> float:
        found = run(x, tokens)
        gaps = (found.finish_s - found.first_s) / np.maximum(found.output_tokens - 1, 1)
        seen = np.stack([found.first_s - found.arrival_s, np.maximum(gaps, 1e-9), found.finish_s - found.arrival_s])
        errors = np.minimum(np.abs(np.log(seen[:, rows]) - target), FARTHEST).mean(axis=1)
        return float(TTFT_WEIGHT * errors[0] + errors[1] + errors[2])

    def scalars(tokens: int | None, x: Floats) -> Floats:
        return minimise(lambda y: misfit(y, tokens) + _PULL * float(np.square(y - expected).sum()), x)

    # A simplex stops in the next hollow: of those that it finds from what is expected and from nothing, and with the
    # front that is expected or that first tokens leave unexplained, the deepest.
    starts = [expected, np.zeros(len(SCALARS))]
    if front.seconds > 0.0:
        starts += [np.append(start[:-1], unexplained(start)) for start in starts]
    x = min((scalars(suggested, start) for start in starts), key=lambda y: misfit(y, suggested))
    tokens, least = suggested, misfit(x, suggested)
    if kv_tokens is None and suggested is not None and run(x, suggested).preemptions > 0:
        longest = int((arrivals.prompt_tokens + arrivals.output_tokens).max())
        coarse = {factor: scalars(max(int(suggested * factor), longest), x) for factor in _COARSE}
        near = min(coarse, key=lambda factor: misfit(coarse[factor], max(int(suggested * factor), longest)))
        tried = np.maximum(np.rint(suggested * near * _FINE), longest).astype(int)
        fitted = [scalars(int(size), coarse[near]) for size in tried]
        misfits = [misfit(y, int(size)) for y, size in zip(fitted, tried, strict=True)]
        found = int(np.argmin(misfits))
        if misfits[found] < _BETTER * least:
            x, tokens, least = fitted[found], int(tried[found]), misfits[found]
    return Fitted(efficiency=scaled(BEGUN, x), kv_tokens=tokens, front=delayed(x), misfit=least)


def first_answers(arrivals: Arrivals, observed: Observed, first: int) -> NDArray[np.intp]:
    """Rows of the requests that were answered first."""
    return np.argsort(arrivals.arrival_s + observed.e2e_s, kind="stable")[:first]


def minimise(loss: Callable[[Floats], float], start: Floats, *, reach: float = 0.3, steps: int = 150) -> Floats:
    """Nelder and Mead's simplex: no slopes are needed, which a simulation with whole steps does not have.

    References
    ----------
    .. [1] J. A. Nelder, R. Mead, "A Simplex Method for Function Minimization", Computer Journal 7(4), 1965.

    Examples
    --------
    >>> minimise(lambda x: float(((x - [1.0, -2.0]) ** 2).sum()), np.zeros(2)).round(3).tolist()
    [1.0, -2.0]
    """
    corners = [start, *(start + reach * axis for axis in np.eye(len(start)))]
    values = [loss(corner) for corner in corners]
    for _ in range(steps):
        order = np.argsort(values, kind="stable")
        corners, values = [corners[i] for i in order], [values[i] for i in order]
        middle = np.mean(corners[:-1], axis=0)
        away = middle - corners[-1]
        tried = middle + away
        value = loss(tried)
        if value < values[0]:
            further = middle + 2.0 * away
            if (far := loss(further)) < value:
                tried, value = further, far
        elif value >= values[-2]:
            tried = middle - 0.5 * away
            value = loss(tried)
            if value >= values[-1]:
                corners = [corners[0], *(corners[0] + 0.5 * (corner - corners[0]) for corner in corners[1:])]
                values = [values[0], *(loss(corner) for corner in corners[1:])]
                continue
        corners[-1], values[-1] = tried, value
    return corners[int(np.argmin(values))]
