"""Percentiles before a run was seen, with intervals: the same arrivals under many draws of what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Design
from reckoner.errors import InputError
from reckoner.predict.efficiency import NAMES, Efficiency
from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.prior import Front, front_of, served
from reckoner.simulate.run import simulate
from reckoner.simulate.schedulers import Scheduler
from reckoner.simulate.server import server_of

Floats = NDArray[np.float64]

METRICS = ("ttft", "tpot", "e2e")
QUANTILES = (0.5, 0.9, 0.95, 0.99)
LEVEL = 0.9
DRAWS = 200
"""Draws of a forecast; a run of 300 requests takes a millisecond each."""

SHARES = ("mbu", "mbu_kv", "mfu", "mfu_decode", "link")
"""Efficiencies that end at a printed limit."""

CACHE_SPREAD = 0.05
"""Standard deviation of the cache's size about what memory suggests, in the logarithm: what an engine keeps aside
differs by version. Assumption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Percentiles of each latency with their intervals.

    Parameters
    ----------
    quantiles : tuple of float
        Probabilities.
    value, low, high : mapping-like (len(METRICS), len(quantiles)) float
        At the likeliest efficiency, and the ends of the interval over draws. [s]
    draws : int
        Draws that served every request.
    """

    quantiles: tuple[float, ...]
    value: Floats
    low: Floats
    high: Floats
    draws: int


def drawn(efficiency: Efficiency, rng: np.random.Generator) -> Efficiency:
    """One efficiency from its covariance; shares end at the printed limits."""
    values, vectors = np.linalg.eigh(efficiency.covariance)
    steps = vectors @ (np.sqrt(np.maximum(values, 0.0)) * rng.standard_normal(len(NAMES)))
    moved: dict[str, Any] = {}
    for name, step in zip(NAMES, steps.tolist(), strict=True):
        value = float(getattr(efficiency, name)) * float(np.exp(step))
        moved[name] = min(value, 1.0) if name in SHARES else value
    return replace(efficiency, **moved)


def forecast(  # noqa: PLR0913 - a deployment, its load, and how hard to look
    design: Design,
    arrivals: Arrivals,
    *,
    efficiency: Efficiency | None = None,
    scheduler: Scheduler | None = None,
    kv_tokens: int | None = None,
    front: Front | None = None,
    quantiles: Sequence[float] = QUANTILES,
    draws: int = DRAWS,
    seed: int = 0,
) -> Forecast:
    """Simulate the same arrivals under many draws of the efficiency and of the cache's size.

    Parameters
    ----------
    design, scheduler
        The deployment.
    arrivals : Arrivals
        Common to all draws, so that only what is not known moves.
    efficiency : Efficiency, optional
        With its covariance; by default that of served deployments like it.
    kv_tokens : int, optional
        Tokens of the cache, where the engine states them; else it is drawn about what memory suggests.
    front : Front, optional
        What requests spend outside of steps, drawn as well; by default what was learned with the default efficiency.
    quantiles : sequence of float
        Probabilities.
    draws, seed : int
        How many, and of what.

    Raises
    ------
    InputError
        Fewer than 20 draws: an interval of 90 % needs them.
    """
    if draws < round(2.0 / (1.0 - LEVEL)):
        raise InputError(f"draws is {draws}; an interval of {LEVEL:.0%} takes at least {round(2.0 / (1.0 - LEVEL))}")
    middle = served(design) if efficiency is None else efficiency
    if front is None:
        front = front_of(design) if efficiency is None else Front(seconds=0.0, token_s=0.0, sd=0.0)
    first = server_of(design, efficiency=middle, scheduler=scheduler, kv_tokens=kv_tokens)
    rng = np.random.default_rng(seed)
    probabilities = np.array(quantiles, dtype=np.float64)

    def percentiles(chosen: Efficiency, tokens: int | None, front: Front = front) -> Floats:
        server = server_of(design, efficiency=chosen, scheduler=scheduler, kv_tokens=tokens, front=front)
        found = simulate(server, arrivals)
        rows = [
            np.quantile(x, probabilities) if len(x := found.latency_s(m)) else probabilities * np.nan for m in METRICS
        ]
        return np.stack(rows)

    seen = []
    for _ in range(draws):
        chosen, spread = drawn(middle, rng), float(rng.standard_normal())
        late = replace(front, seconds=front.seconds * float(np.exp(front.sd * rng.standard_normal())))
        tokens = kv_tokens
        if tokens is None and first.kv_tokens is not None:
            tokens = max(int(first.kv_tokens * np.exp(CACHE_SPREAD * spread)), 1)
        seen.append(percentiles(chosen, tokens, late))
    ends = np.quantile(np.stack(seen), [0.5 * (1.0 - LEVEL), 0.5 * (1.0 + LEVEL)], axis=0)
    return Forecast(
        quantiles=tuple(quantiles),
        value=percentiles(middle, first.kv_tokens),
        low=ends[0],
        high=ends[1],
        draws=draws,
    )
