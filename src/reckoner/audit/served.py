"""One tier that serves a language model, held against what was promised."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from reckoner.audit.figures import Figure, Figures
from reckoner.audit.plan import ServedTier, design_of, device_of, scheduler_of
from reckoner.audit.verdict import Verdict, at_least, at_most
from reckoner.catalogue import find
from reckoner.design import Slo
from reckoner.errors import DoesNotFitError, MissingFigureError
from reckoner.physics.availability import k_of_n
from reckoner.predict.prediction import Prediction, predict
from reckoner.quantiles import Percentile
from reckoner.simulate.arrivals import Arrivals, poisson
from reckoner.simulate.drafts import speculative
from reckoner.simulate.lengths import fixed
from reckoner.simulate.run import fits, simulate
from reckoner.simulate.server import Server, server_of
from reckoner.simulate.simulation import Simulation
from reckoner.simulate.sizing import full_rate

REQUESTS = 2000
"""Requests of a simulation: a P99 from 20 beyond it. Its sampling error stands in every interval."""
REACH = 1.645  # standard deviations to the edge of a 90 % interval
METRICS = {"ttft": "ttft_p99_s", "tpot": "tpot_p99_s", "e2e": "e2e_p99_s"}
"""Latency of the simulator, and the promise about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a tier does.

    Parameters
    ----------
    figures : Figures
        By name, with intervals.
    prediction : Prediction
        Of one replica at its full batch.
    simulation : Simulation or None
        Of one replica at its share of the demand; None where nothing can be served.
    needed : int or None
        Replicas that carry the demand and keep the latencies; None where no number of them does.
    """

    figures: Figures
    prediction: Prediction
    simulation: Simulation | None
    needed: int | None


def serve(tier: ServedTier, demand_per_s: float, headroom: float, slo: Slo) -> Served:
    """Find out what a tier does with its demand.

    Parameters
    ----------
    tier : ServedTier
        The design.
    demand_per_s : float
        Requests of the tier. [1/s]
    headroom : float
        Share by which the demand is raised where replicas are counted.
    slo : Slo
        Promises, of which the latencies say how many replicas are needed.
    """
    prediction = predict(design_of(replace_batch(tier)), tier.workload)
    figures: dict[str, Figure] = {}
    low, high = prediction.interval("memory_bytes")
    figures["memory_bytes"] = Figure(float(prediction.memory_bytes), float(low), float(high), "B")
    usd = rent(tier)
    figures["usd_per_hour"] = Figure(None if usd is None else usd * tier.devices, None, None, "USD/h")
    server = _server(tier) if bool(prediction.fits) else None
    if server is None:
        return Served(figures=figures, prediction=prediction, simulation=None, needed=None)
    unit = _unit(tier.prompt_tokens, tier.output_tokens)
    rate = full_rate(server, unit)
    rate_low, rate_high = _spread(rate, _sigma(prediction, "output_tokens_per_s"))
    total = Figure(rate, rate_low, rate_high, "1/s").times(tier.replicas)
    figures["capacity_per_s"] = total
    carried = min(demand_per_s, rate * tier.replicas)
    if carried and usd is not None:
        figures["usd_per_request"] = Figure(usd * tier.devices / 3600.0 / carried, None, None, "USD")
    each_per_s = demand_per_s / tier.replicas
    figures["utilisation"] = Figure(each_per_s / rate, each_per_s / rate_high, each_per_s / rate_low, "")
    found = _run(server, unit, max(each_per_s, 1e-9)) if each_per_s < rate else None
    if found is not None and not len(found.rejected) and found.overload is None:
        for metric, promise in _asked(tier):
            figures[promise] = _latency(found.percentile(metric, 0.99), _sigma(prediction, f"{metric}_s"))
        joules = found.energy_j
        if joules is not None:
            watts = joules / found.makespan_s * tier.replicas
            figures["power_w"] = Figure(watts, *_spread(watts, _sigma(prediction, "j_per_token")), "W")
            if demand_per_s:
                each = watts / demand_per_s
                figures["j_per_request"] = Figure(each, *_spread(each, _sigma(prediction, "j_per_token")), "J")
    else:
        for _, promise in _asked(tier):
            figures[promise] = Figure(math.inf, None, None, "s")
    needed = _needed(server, unit, tier, demand_per_s * (1.0 + headroom), slo, rate)
    return Served(figures=figures, prediction=prediction, simulation=found, needed=needed)


def judge(name: str, tier: ServedTier, served: Served, demand_per_s: float, headroom: float, slo: Slo) -> list[Verdict]:
    """Hold a tier's figures against the promises."""
    figures, device = served.figures, device_of(tier.device)
    memory = figures["memory_bytes"]
    assert memory.value is not None  # memory is always counted
    held = bool(served.prediction.fits)
    over = memory.value / device.memory_bytes
    verdicts = [
        Verdict(
            name="memory_bytes", tier=name, holds=held, limit=device.memory_bytes, value=memory.value,
            low=memory.low, high=memory.high, unit="B",
            binding="weights" if served.prediction.memory.weights >= 0.5 * memory.value else "KV cache",
            fix="" if held else f"needs {over:.2g} times the memory: fewer bits, a smaller model or batch, or more tp",
        )
    ]  # fmt: skip
    for _, promise in _asked(tier):
        limit = getattr(slo, promise)
        if limit is None:
            continue
        at = figures.get(promise, Figure(None, None, None, "s"))
        holds = at_most(at.value, limit)
        verdicts.append(
            Verdict(
                name=promise, tier=name, holds=holds, limit=limit, value=at.value, low=at.low, high=at.high, unit="s",
                binding=_binding(served), fix=_latency_fix(holds, at.value, limit, served),
            )
        )  # fmt: skip
    wanted = demand_per_s * (1.0 + headroom)
    capacity = figures.get("capacity_per_s", Figure(None, None, None, "1/s"))
    holds = at_least(capacity.value, wanted)
    short = "" if holds or capacity.value is None else (
        f"{math.ceil(tier.replicas * wanted / capacity.value):,} replicas carry it, not {tier.replicas:,}"
    )  # fmt: skip
    verdicts.append(
        Verdict(
            name="requests_per_s", tier=name, holds=holds, limit=wanted, value=capacity.value, low=capacity.low,
            high=capacity.high, unit="1/s", at_least=True, binding=_binding(served),
            fix=short or (_no_room(served) if holds is None else ""),
        )
    )  # fmt: skip
    return verdicts


def availability(tier: ServedTier, needed: int | None) -> float:
    """Share of time that a tier answers in time: n+k where replicas stand in for each other, else that of each."""
    if not tier.pooled:
        return tier.availability if needed is not None and needed <= tier.replicas else 0.0
    return 0.0 if needed is None else k_of_n(needed, tier.replicas, tier.availability)


def rent(tier: ServedTier, device: str = "") -> float | None:
    """Rent of one of a tier's devices, or of another ``device`` in its place, in USD/h; None where nobody knows it."""
    if tier.usd_per_hour is not None and not device:
        return tier.usd_per_hour
    if not tier.pooled:
        return 0.0
    return _listed(device or tier.device)


def replace_batch(tier: ServedTier) -> ServedTier:
    """Return one replica of a tier: what its design is keyed by."""
    return tier if tier.replicas == 1 else replace(tier, replicas=1)


@lru_cache(maxsize=4096)
def _listed(device: str) -> float | None:
    try:
        return find.rate(device).usd_per_hour
    except MissingFigureError:
        return None


def _server(tier: ServedTier) -> Server | None:
    return _served_by(replace(tier, share=0.0, replicas=1, usd_per_hour=None, availability=0.5, pooled=True))


@lru_cache(maxsize=8192)
def _served_by(tier: ServedTier) -> Server | None:
    """Server of one replica; None where the weights leave no room for the cache of even one request."""
    plain = design_of(replace(tier, draft_tokens=0))
    try:
        server = server_of(plain, scheduler=scheduler_of(tier), workload=tier.workload)
    except DoesNotFitError:
        return None
    if not fits(server, _unit(tier.prompt_tokens, tier.output_tokens)).any():
        return None
    if tier.draft_tokens:
        draft_s = float(plain.serving.draft_share) * float(server.cost.decode_s[1])
        server = speculative(server, acceptance=tier.acceptance, draft_tokens=tier.draft_tokens, draft_s=draft_s)
    return server


@lru_cache(maxsize=256)
def _unit(prompt_tokens: int, output_tokens: int) -> Arrivals:
    """Arrivals at one a second, the same for every design: common random numbers."""
    return poisson(1.0, fixed(prompt_tokens, output_tokens), n=REQUESTS, seed=0)


def _run(server: Server, unit: Arrivals, rate_per_s: float) -> Simulation:
    return simulate(server, unit.scaled(rate_per_s))


def _asked(tier: ServedTier) -> list[tuple[str, str]]:
    """Latencies that a tier has; a gap takes two tokens."""
    return [(metric, promise) for metric, promise in METRICS.items() if metric != "tpot" or tier.output_tokens > 1]


def _needed(server: Server, unit: Arrivals, tier: ServedTier, demand_per_s: float, slo: Slo, rate: float) -> int | None:
    """Fewest replicas that keep the latencies; by capacity alone where even all of them do not."""
    least = max(1, math.ceil(demand_per_s / rate * (1.0 + 1e-9)))

    def met(replicas: int) -> bool:
        found = _run(server, unit, max(demand_per_s / replicas, 1e-9))
        return not len(found.rejected) and found.overload is None and _keeps(found, slo)

    if least > tier.replicas:
        return least
    if not met(tier.replicas):
        return None
    low, high = least - 1, tier.replicas
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if met(middle) else (middle, high)
    return high


def _keeps(found: Simulation, slo: Slo) -> bool:
    for metric, promise in METRICS.items():
        limit = getattr(slo, promise)
        at = found.point(metric, 0.99)
        if limit is not None and at is not None and at > limit:
            return False
    return True


def _latency(at: Percentile, sigma: float) -> Figure:
    """Percentile with sampling and model error, taken as independent in the logarithm."""
    value = max(at.value, 1e-12)
    below = math.hypot(math.log(value / max(at.low, 1e-12)) / REACH, sigma)
    above = math.hypot(math.log(at.high / value) / REACH, sigma) if math.isfinite(at.high) else math.inf
    high = value * math.exp(REACH * above) if math.isfinite(above) else math.inf
    return Figure(value, value * math.exp(-REACH * below), high, "s")


def _sigma(prediction: Prediction, metric: str) -> float:
    return float(np.asarray(prediction.sigma(metric)))


def _spread(value: float, sigma: float) -> tuple[float, float]:
    return value * math.exp(-REACH * sigma), value * math.exp(REACH * sigma)


def _binding(served: Served) -> str:
    utilisation = served.figures.get("utilisation")
    if utilisation is not None and utilisation.value is not None and utilisation.value >= 1.0:
        return "overload"
    return str(served.prediction.bound)


def _no_room(served: Served) -> str:
    if bool(served.prediction.fits):
        return "the weights leave no room for the cache of a request: fewer bits, a smaller model, or more tp"
    return "it must fit into memory first"


def _latency_fix(holds: bool | None, value: float | None, limit: float, served: Served) -> str:
    if holds:
        return ""
    if holds is None or value is None:
        return _no_room(served)
    if math.isinf(value):
        return "the queue grows without end: more replicas, or shorter answers"
    relief = {
        "memory bandwidth": "fewer bits, more tp, a smaller model, or shorter answers",
        "compute": "a shorter prompt, more tp, or a faster device",
        "communication": "less tp or a faster link",
        "overhead": "a smaller model, another engine, or shorter answers",
    }[str(served.prediction.bound)]
    factor = value / limit
    return f"{factor:,.0f} times the limit: {relief}" if factor >= 10.0 else f"{factor:.2g} times the limit: {relief}"
