"""The largest rate that keeps a promise, and the fewest replicas that carry a load."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from reckoner.design import Design, Slo, Workload
from reckoner.errors import InputError
from reckoner.physics.availability import k_of_n
from reckoner.predict.efficiency import Efficiency
from reckoner.quantiles import quantile
from reckoner.simulate.arrivals import Arrivals, poisson
from reckoner.simulate.lengths import Lengths, fixed
from reckoner.simulate.run import simulate
from reckoner.simulate.schedulers import Scheduler
from reckoner.simulate.server import Server, at_replicas, server_of
from reckoner.simulate.simulation import Simulation

REPLICA_AVAILABILITY = 0.995
"""Share of time that one replica is in service. Assumption: an hour down in eight days, restarts and failures together;
give your own."""

MOST_REPLICAS = 100_000
_LEAST_RATE = 1e-4  # of the first guess: a rate at which requests do not meet

Report = Callable[[str], None]
"""Told a line about each step of a search."""


class Mapper(Protocol):
    """Whatever maps a function over tasks: an executor of :mod:`concurrent.futures`, or a pool of processes.

    Dask's is ``Client().get_executor()``. Ray has no executor (ray-project/ray, issue 29456, open in 2026-11); its
    ``ray.util.multiprocessing.Pool`` maps as well.
    """

    def map(self, function: Callable[..., Any], tasks: Sequence[Any], /) -> Iterable[Any]:
        """Results in the order of the tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The largest rate that keeps every limit.

    Parameters
    ----------
    requests_per_s : float
        Mean over the seeds. [1/s]
    low, high : float
        90 % interval of that mean, from the spread over the seeds; equal for a trace, which has no seeds. [1/s]
    by_seed : tuple of float
        What each stream of arrivals allowed. [1/s]
    n : int
        Requests of each stream.
    binding : str
        Limit that the next higher rate broke, in most streams: "ttft", "tpot", "e2e" or "overload".
    simulations : int
        Runs that it took.
    """

    requests_per_s: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    n: int
    binding: str
    simulations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Replicas that carry a load.

    Parameters
    ----------
    needed, spares : int
        Replicas that keep the limits, and more that stand in for failing ones.
    devices : int
        Of both together.
    availability : float
        Probability that at least ``needed`` replicas are in service.
    simulation : Simulation
        The load, headroom included, on the needed ones.
    """

    needed: int
    spares: int
    devices: int
    availability: float
    simulation: Simulation


def capacity(  # noqa: PLR0913 - one question, and how hard to look
    design: Design | Server,
    workload: Workload | Arrivals,
    slo: Slo,
    *,
    efficiency: Efficiency | None = None,
    scheduler: Scheduler | None = None,
    lengths: Lengths | None = None,
    n: int = 4000,
    seeds: int = 5,
    report: Report | None = None,
    executor: Mapper | None = None,
) -> Capacity:
    """Largest request rate that meets an SLO, by bisection on the same random numbers at every rate.

    Parameters
    ----------
    design : Design or Server
        As in :func:`reckoner.simulate.simulate`.
    workload : Workload or Arrivals
        Lengths of Poisson arrivals, or arrivals whose time is compressed.
    slo : Slo
        At least one of ``ttft_p99_s``, ``tpot_p99_s``, ``e2e_p99_s``.
    efficiency, scheduler
        Of a design only.
    lengths : Lengths, optional
        What Poisson arrivals draw, in place of the workload's lengths, which then are typical ones.
    n, seeds : int
        Requests of a stream, and streams.
    report : callable, optional
        Told each rate that was tried, where no executor is given.
    executor : Mapper, optional
        Who works on the streams; by default this process, one stream after the other. The answer is the same.

    Raises
    ------
    InputError
        The SLO limits no latency, or no rate meets it: says by how much.
    """
    if slo.ttft_p99_s is None and slo.tpot_p99_s is None and slo.e2e_p99_s is None:
        raise InputError("the SLO limits no latency; give ttft_p99_s, tpot_p99_s or e2e_p99_s")
    asked = workload.workload if isinstance(workload, Arrivals) else workload
    server = server_at(design, efficiency, scheduler, asked)
    if isinstance(workload, Arrivals):
        if workload.follows is not None or workload.span_s <= 0.0:
            raise InputError(f"{workload.name} has no rate to raise; give an open loop over some time")
        mean_per_s = len(workload) / workload.span_s
        streams = [workload.scaled(1.0 / mean_per_s)]
    else:
        if seeds < 1 or n < _LEAST_N:
            raise InputError(f"n is {n} and seeds {seeds}; a P99 takes at least {_LEAST_N} requests and one seed")
        drawn = lengths
        if drawn is None:
            alike = (int(_one(k, getattr(workload, k))) for k in ("prompt_tokens", "output_tokens"))
            drawn = fixed(*alike)
        streams = [poisson(1.0, drawn, n=n, seed=seed) for seed in range(seeds)]
    guess = full_rate(server, streams[0])
    if executor is None:
        ends = [_bisect(server, stream, slo, guess, report) for stream in streams]
    else:
        ends = list(executor.map(_bisected, [(server, stream, slo, guess) for stream in streams]))
    found = [rate for rate, _, _ in ends]
    binding = Counter(why for _, why, _ in ends).most_common(1)[0][0]
    runs = sum(took for _, _, took in ends)
    mean = float(np.mean(found))
    reach = (
        _T90[min(len(found), len(_T90) - 1)] * float(np.std(found, ddof=1)) / math.sqrt(len(found)) if found[1:] else 0
    )
    return Capacity(
        requests_per_s=mean,
        low=mean - reach,
        high=mean + reach,
        by_seed=tuple(found),
        n=len(streams[0]),
        binding=binding,
        simulations=runs,
    )


_LEAST_N = 299  # answers from which a P99 has an upper bound: ln 0.05 / ln 0.99
_T90 = (0.0, 0.0, 6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833)
"""95 % quantiles of Student's t by number of values (degrees of freedom plus one); the last serves larger ones."""

_CLOSE = 1.01  # ratio of the bisection's ends: the rate is known to 1 %


def fewest(
    design: Design | Server,
    arrivals: Arrivals,
    slo: Slo,
    *,
    efficiency: Efficiency | None = None,
    scheduler: Scheduler | None = None,
    headroom: float = 0.0,
    replica_availability: float = REPLICA_AVAILABILITY,
    report: Report | None = None,
) -> Fleet:
    """Fewest replicas that meet an SLO under a load, and the spares that its availability asks for.

    Parameters
    ----------
    design, slo, efficiency, scheduler
        As in :func:`capacity`; replicas of the design are replaced.
    arrivals : Arrivals
        The load.
    headroom : float
        Share by which the load is raised before it is held against the SLO.
    replica_availability : float
        Share of time that one replica is in service.
    report : callable, optional
        Told each number of replicas that was tried.

    Raises
    ------
    InputError
        Not even one request alone meets the SLO, or a number is out of range.
    """
    if not 0.0 <= headroom < np.inf or not 0.0 < replica_availability < 1.0:
        raise InputError(
            f"headroom is {headroom!r} and replica_availability {replica_availability!r}; "
            "at least 0, and between 0 and 1"
        )
    one = at_replicas(server_at(design, efficiency, scheduler, arrivals.workload), 1)
    load = arrivals if headroom == 0.0 else arrivals.scaled(1.0 + headroom)
    _must_pass_alone(one, load, slo)

    def run(replicas: int) -> Simulation:
        found = simulate(at_replicas(one, replicas), load)
        if report is not None:
            report(f"{replicas} replicas: {'met' if found.meets(slo) else 'not met'}")
        return found

    low, high = 0, 1
    best = run(high)
    while not best.meets(slo):
        low, high = high, high * 2
        if high > MOST_REPLICAS or low > len(load):
            raise InputError(f"{low} replicas do not meet the SLO either: {_failing(best, slo)}; loosen it")
        best = run(high)
    while high - low > 1:
        middle = (low + high) // 2
        tried = run(middle)
        if tried.meets(slo):
            high, best = middle, tried
        else:
            low = middle
    spares, availability = _spares(high, replica_availability, slo.availability)
    return Fleet(
        needed=high,
        spares=spares,
        devices=(high + spares) * one.devices,
        availability=availability,
        simulation=best,
    )


def server_at(
    design: Design | Server, efficiency: Efficiency | None, scheduler: Scheduler | None, workload: Workload
) -> Server:
    """Return a server as it stands, or that of a design."""
    if isinstance(design, Server):
        return design
    return server_of(design, efficiency=efficiency, scheduler=scheduler, workload=workload)


def _one(name: str, value: object) -> float:
    if np.ndim(value) != 0:  # type: ignore[arg-type]
        raise InputError(f"{name} is an array; give one number")
    return float(value)  # type: ignore[arg-type]


def _failing(found: Simulation, slo: Slo) -> str:
    """Name the worst broken limit."""
    if len(found.rejected):
        return f"{len(found.rejected)} requests are larger than the cache"
    worst = max(
        (
            (quantile(found.latency_s(metric), 0.99) / limit, metric, limit)
            for metric, limit in (("ttft", slo.ttft_p99_s), ("tpot", slo.tpot_p99_s), ("e2e", slo.e2e_p99_s))
            if limit is not None and len(found.latency_s(metric))
        ),
        default=(0.0, "", 0.0),
    )
    if worst[0] > 1.0:
        return f"{worst[1]} P99 is {worst[0] * worst[2]:.3g} s, limit {worst[2]:g} s"
    return f"arrivals exceed what is served by {100 * ((found.overload or 1.0) - 1):.0f} %"


def _metric(found: Simulation, slo: Slo) -> str:
    words = _failing(found, slo).split()[0]
    return words if words in ("ttft", "tpot", "e2e") else "overload"


def _must_pass_alone(server: Server, arrivals: Arrivals, slo: Slo) -> None:
    """Refuse a promise that is broken where no two requests meet."""
    alone = replace(
        arrivals.scaled(_LEAST_RATE * max(arrivals.span_s, 1.0) * full_rate(server, arrivals) / len(arrivals)),
        name="one by one",
    )
    found = simulate(server, alone)
    if not found.meets(slo):
        raise InputError(
            f"no rate meets the SLO on {server.name}: one request after the other, {_failing(found, slo)}; "
            "loosen it, raise tp, or use a faster device"
        )


def full_rate(server: Server, arrivals: Arrivals) -> float:
    """Rate at which a server kept full would answer, without interference, in 1/s.

    A batch of :math:`B` answers of :math:`n` tokens takes ``B`` prefills and ``n`` steps: ``1 / (t_prefill + n step(B)
    / B)``. What queues before it and what stalls comes on top, so that no more than this is ever served.
    """
    cost, seats = server.cost, len(server.cost.decode_s) - 1
    prompt, output = float(arrivals.prompt_tokens.mean()), float(arrivals.output_tokens.mean())
    if server.kv_tokens is not None:
        seats = max(1, min(seats, int(server.kv_tokens / server.lanes / (prompt + output))))
    step = (cost.decode_s[seats] + cost.kappa_s * seats * (prompt + output / 2.0)) / server.tokens_per_step
    index = min(int(prompt), len(cost.pass_s) - 1)
    prefill = cost.pass_s[index] + cost.tail_s * max(0.0, prompt - index) + cost.pair_s * prompt**2 / 2.0
    return float(server.replicas * server.lanes / max(prefill + output * step / seats, 1e-12))


def _bisected(task: tuple[Server, Arrivals, Slo, float]) -> tuple[float, str, int]:
    """One stream; a top-level function, so that any executor can send it elsewhere."""
    return _bisect(*task, report=None)


def _bisect(server: Server, unit: Arrivals, slo: Slo, guess: float, report: Report | None) -> tuple[float, str, int]:
    runs = 0
    why = "overload"

    def passes(rate: float) -> bool:
        nonlocal runs, why
        runs += 1
        found = simulate(server, unit.scaled(rate))
        good = found.meets(slo)
        if not good:
            why = _metric(found, slo)
        if report is not None:
            report(f"{rate:.4g} requests/s: {'met' if good else 'not met'}")
        return good

    low = high = guess
    if passes(guess):
        while passes(high := high * 1.5):
            low = high
            if high > guess * 1e6:
                raise InputError(f"even {high:.3g} requests/s meet the SLO; n is too small to fill the server")
    else:
        while not passes(low := low / 1.5):
            high = low
            if low < guess * _LEAST_RATE:
                _must_pass_alone(server, unit, slo)
                raise InputError(f"only rates below {low:.3g} requests/s meet the SLO; loosen it")
    while high / low > _CLOSE:
        middle = math.sqrt(low * high)
        if passes(middle):
            low = middle
        else:
            high = middle
    return low, why, runs


def _spares(needed: int, each: float, wanted: float | None) -> tuple[int, float]:
    """Spares until at least ``needed`` replicas are up with the probability wanted; none where none is."""
    spares = 0
    while True:
        up = k_of_n(needed, needed + spares, each)
        if wanted is None or up >= wanted:
            return spares, up
        spares += 1
