"""Three scalars from the first answers of a real run: compute efficiency, bandwidth efficiency, cost of a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Design
from reckoner.errors import InputError
from reckoner.predict.deployment import Point, features
from reckoner.predict.efficiency import PRIOR, Efficiency
from reckoner.predict.plan import prepare
from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.cost import TYPICAL_BATCH
from reckoner.simulate.run import simulate
from reckoner.simulate.schedulers import Scheduler
from reckoner.simulate.server import server_of

Floats = NDArray[np.float64]

LEAST = 10
"""Answers below which three scalars are not fitted. Assumption."""

_TTFT_WEIGHT = 0.3  # a first token's wait is noisier than gaps and whole requests. Assumption.
_PULL = 0.01  # of a squared logarithm towards the start: a scalar that nothing speaks of stays put. Assumption.


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was measured of each request of the arrivals, in their order; all of shape (n,), in seconds."""

    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats


def efficiency_at(design: Design, arrivals: Arrivals, batch: float = TYPICAL_BATCH) -> Efficiency:
    """Efficiency that was learned for designs like this one, at one batch, as scalars."""
    asked, serving = arrivals.workload, design.serving
    point = Point(batch, serving.tp, 1.0, serving.ep, asked.prompt_tokens, asked.output_tokens)
    found = prepare(design).deployment.factors(features(point)).efficiency
    return replace(found, layer_prefill=found.layer)


def fit(
    design: Design,
    arrivals: Arrivals,
    observed: Observed,
    *,
    first: int = 60,
    scheduler: Scheduler | None = None,
    kv_tokens: int | None = None,
    start: Efficiency | None = None,
) -> Efficiency:
    """Scale an efficiency until the simulation's first answers are those that were measured.

    Parameters
    ----------
    design, scheduler, kv_tokens
        The deployment.
    arrivals : Arrivals
        All requests of the run, so that the load is right; answers beyond the first are not looked at.
    observed : Observed
        Of all of them; only the ``first`` that were answered count.
    first : int
        Answers to learn from.
    start : Efficiency, optional
        What is scaled; by default what was learned for designs like it, or the prior of all designs where that gets
        closer to the first answers.

    Returns
    -------
    Efficiency
        With ``mfu``, ``mbu`` and ``layer`` (and their siblings) scaled by one factor each.

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
    target = np.log(times)

    def loss(x: Floats, begun: Efficiency) -> float:
        server = server_of(design, efficiency=_scaled(begun, x), scheduler=scheduler, kv_tokens=kv_tokens)
        found = simulate(server, arrivals)
        if len(found) != len(arrivals):
            raise InputError("a request of the run is larger than the cache; give kv_tokens as the engine states it")
        gaps = (found.finish_s - found.first_s) / np.maximum(found.output_tokens - 1, 1)
        seen = np.stack([found.first_s - found.arrival_s, np.maximum(gaps, 1e-9), found.finish_s - found.arrival_s])
        errors = np.abs(np.log(seen[:, rows]) - target).mean(axis=1)
        return float(_TTFT_WEIGHT * errors[0] + errors[1] + errors[2] + _PULL * np.square(x).sum())

    best, least = PRIOR, np.inf
    for begun in (efficiency_at(design, arrivals), PRIOR) if start is None else (start,):
        x = minimise(partial(loss, begun=begun), np.zeros(3))
        if (value := loss(x, begun)) < least:
            best, least = _scaled(begun, x), value
    return best


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


def _scaled(begun: Efficiency, x: Floats) -> Efficiency:
    flops, bytes_, layer = np.exp(np.clip(x, -5.0, 5.0)).tolist()
    return replace(
        begun,
        # No deployment beats the printed limits: a fit that wants to has something else wrong, such as the cache.
        mfu=min(float(begun.mfu * flops), 1.0),
        mfu_decode=min(float(begun.mfu_decode * flops), 1.0),
        mbu=min(float(begun.mbu * bytes_), 1.0),
        mbu_kv=min(float(begun.mbu_kv * bytes_), 1.0),
        layer=begun.layer * layer,
        layer_prefill=begun.layer_prefill * layer,
        source="three scalars fitted to the first answers of a run",
    )
