"""Disaggregated serving: one pool of replicas reads prompts, the caches move over a link, another pool decodes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reckoner.errors import InputError, UnknownNameError
from reckoner.quantiles import Percentile, percentile_of
from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.outcome import METRICS
from reckoner.simulate.run import simulate
from reckoner.simulate.server import Server
from reckoner.simulate.simulation import Simulation

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Disaggregated:
    """What both pools did; latencies are of the whole way, in the order of the arrivals.

    Parameters
    ----------
    prefill, decode : Simulation
        Each pool; ``decode`` holds the requests with more than one token, in the order in which their caches arrived.
    arrival_s, started_s, first_s, finish_s : (n,) float
        Of all requests. [s]
    output_tokens : (n,) int
        Lengths of the answers.
    """

    prefill: Simulation
    decode: Simulation
    arrival_s: Floats
    started_s: Floats
    first_s: Floats
    finish_s: Floats
    output_tokens: NDArray[np.int32]

    def latency_s(self, metric: str) -> Floats:
        """One latency of each request, as :meth:`Simulation.latency_s`; "tpot" holds the move of the cache as well."""
        if metric not in METRICS:
            raise UnknownNameError.of("metric", metric, METRICS)
        if metric == "tpot":
            several = self.output_tokens > 1
            return (self.finish_s - self.first_s)[several] / (self.output_tokens[several] - 1)
        until = {"queue": self.started_s, "ttft": self.first_s, "e2e": self.finish_s}[metric]
        return until - self.arrival_s

    def percentile(self, metric: str, q: float) -> Percentile:
        """Quantile of a latency with its interval, as :meth:`Simulation.percentile`."""
        return percentile_of(self.latency_s(metric), q, metric)


def disaggregated(
    prefill: Server, decode: Server, arrivals: Arrivals, *, token_s: float, latency_s: float = 0.0
) -> Disaggregated:
    """Serve an open loop with two pools.

    Parameters
    ----------
    prefill, decode : Server
        The pools, with continuous schedulers.
    arrivals : Arrivals
        An open loop; each request fits into both caches.
    token_s, latency_s : float
        Time that a token of cache takes over the link, and the fixed time of a move. Moves do not wait for each other.
        [s]

    Returns
    -------
    Disaggregated
        The first token comes from the prefill pool; the decode pool goes on from the cache that arrived.

    Raises
    ------
    InputError
        The arrivals are no open loop, a request does not fit, none has a second token, or a time is negative.

    Notes
    -----
    To the decode pool a request is a prompt of one token more, the first of the answer, of which all but that token is
    cached. After a preemption there it is computed anew in that pool.
    """
    if not (0.0 <= token_s < np.inf and 0.0 <= latency_s < np.inf):
        raise InputError(f"token_s is {token_s!r} and latency_s {latency_s!r}; both must be at least 0 s")
    if arrivals.follows is not None:
        raise InputError(f"{arrivals.name}: two pools serve open loops; use one server for closed loops and sessions")
    several = np.flatnonzero(arrivals.output_tokens > 1)
    if several.size == 0:
        raise InputError(f"no request of {arrivals.name} has a second token; a decode pool has nothing to do")
    ones = Arrivals(
        arrival_s=arrivals.arrival_s,
        prompt_tokens=arrivals.prompt_tokens,
        output_tokens=np.ones(len(arrivals), np.int32),
        cached_tokens=arrivals.cached_tokens,
        group=arrivals.group,
        name=arrivals.name,
    )
    read = _all(simulate(prefill, ones))
    there_s = read.finish_s + latency_s + token_s * arrivals.prompt_tokens
    rows = several[np.argsort(there_s[several], kind="stable")]
    moved = Arrivals(
        arrival_s=there_s[rows],
        prompt_tokens=arrivals.prompt_tokens[rows] + 1,
        output_tokens=arrivals.output_tokens[rows] - 1,
        cached_tokens=arrivals.prompt_tokens[rows],
        group=None if arrivals.group is None else arrivals.group[rows],
        name=f"{arrivals.name}, read elsewhere",
    )
    written = _all(simulate(replace(decode, front_s=0.0, front_token_s=0.0), moved))  # they came in by the other pool
    finish_s = read.finish_s.copy()
    finish_s[rows] = written.finish_s
    return Disaggregated(
        prefill=read,
        decode=written,
        arrival_s=read.arrival_s,
        started_s=read.started_s,
        first_s=read.finish_s,
        finish_s=finish_s,
        output_tokens=arrivals.output_tokens,
    )


def _all(found: Simulation) -> Simulation:
    if len(found.rejected):
        raise InputError(
            f"{len(found.rejected)} requests are larger than the cache of {found.server.name}, "
            f"{found.server.kv_tokens} tokens; leave them out or give the pool more memory"
        )
    return found
