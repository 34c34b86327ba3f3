"""Designs that a tier could have instead, screened in broadcast calls by what they do alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reckoner.audit.plan import ServedTier, design_of, device_of
from reckoner.audit.served import rent, replace_batch
from reckoner.catalogue import find
from reckoner.catalogue.device import Device
from reckoner.design import Design, Serving, Slo, Workload
from reckoner.errors import ReckonerError
from reckoner.predict.sweep import Sweep, sweep
from reckoner.simulate.sizing import MOST_REPLICAS

WEIGHTS = ("fp16", "fp8", "int8", "int4")
BATCHES = (1, 8, 32, 128)
RANKS = (1, 2, 4, 8)
OTHER_DEVICES = 8  # tried besides the planned one
DRAFT_TOKENS = 4
"""Tokens drafted where speculation is tried. Assumption."""
SLACK = 1.5
"""How far above a limit a design may be in the screen and still be simulated: the screen's efficiencies are those of
all measurements, the simulator's those of served ones. Assumption."""
FULL = 0.7
"""Share of a replica's full rate that the screen counts with at most. Assumption; the simulation decides."""
WAITING = 0.43
"""Utilisation over what is left, by place of a batch, for which the 99th percentile of a wait takes the time of
one service: 2 / ln 100, as if waits of an M/D/1 queue were exponential with their mean. Assumption, of the screen."""

FIELDS = ("model", "device", "weights", "kv", "tp", "batch", "scheduler", "output_tokens", "draft_tokens")
"""What a move may change, besides the number of replicas."""

MODELS = (
    "qwen2.5-7b", "llama-3.1-8b", "mistral-7b-v0.3", "gemma-3-4b", "phi-3.5-mini", "llama-3.2-3b", "qwen2.5-3b",
    "gemma-2-2b", "smollm2-1.7b", "qwen2.5-1.5b", "llama-3.2-1b", "qwen3-0.6b", "qwen2.5-0.5b", "smollm2-360m",
    "smollm2-135m",
)  # fmt: skip
"""Smaller models that are tried first, largest first. Assumption: families that come in many sizes."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tier that could be, with what the screen says of it.

    Parameters
    ----------
    tier : ServedTier
        With as many replicas as the screen holds for enough.
    moves : int
        Fields that differ from the tier as planned, replicas counted once.
    loss : float
        How much less its users get: logarithms of the cut in answer length, weights of the model, and bits of each.
    usd_per_hour : float
        Rent of all its devices; infinite where unknown. [USD/h]
    excess : float
        Worst unloaded latency over its limit; below 1 keeps all.
    """

    tier: ServedTier
    moves: int
    loss: float
    usd_per_hour: float
    excess: float


@dataclass(frozen=True, slots=True)
class Screened:
    """What a screen leaves: the number of designs looked at, those worth a simulation in order, and the nearest."""

    looked_at: int
    kept: tuple[Candidate, ...]
    nearest: Candidate | None


def screen(
    tier: ServedTier, demand_per_s: float, slo: Slo, *, headroom: float, models: Sequence[str], keep: int,
    slack: float = SLACK,
) -> Screened:  # fmt: skip
    """Look at every combination of axes around a tier.

    Parameters
    ----------
    tier : ServedTier
        As planned.
    demand_per_s, headroom, slo
        What it must carry, and the promises.
    models : sequence of str
        Tried besides its own.
    keep : int
        Candidates kept for each number of moves and scheduler: so many that take least from the users, and so many of
        the cheapest.
    slack : float
        Latency over its limit up to which a design is kept.
    """
    looked_at, nearest = 0, None
    ranked: dict[tuple[int, bool, bool], list[_Place]] = {}
    parts: list[dict[str, NDArray[Any]]] = []
    for part in _parts(tier, models):
        columns = _columns(tier, part, demand_per_s * (1.0 + headroom), slo)
        parts.append(columns)
        excess, moves = columns["excess"], columns["moves"]
        looked_at += excess.size
        if excess.size:
            best = _candidate(tier, columns, int(np.argmin(excess)), tier.scheduler)
            if nearest is None or best.excess < nearest.excess:
                nearest = best
        for cheap in (False, True):
            first, second = (columns[name] for name in (("usd", "loss") if cheap else ("loss", "usd")))
            order = np.lexsort((second, first, excess > 1.0, moves))
            good = order[excess[order] <= slack]
            for count in np.unique(moves[good]):
                for row in good[moves[good] == count][:keep].tolist():
                    place = (bool(excess[row] > 1.0), float(first[row]), float(second[row]), len(parts) - 1, row)
                    for switched in (False, True) if _switches(tier, columns, row) else (False,):
                        ranked.setdefault((int(count) + switched, cheap, switched), []).append(place)
    chosen: dict[ServedTier, Candidate] = {}
    for (_, _, switched), places in sorted(ranked.items()):
        for *_, part_number, row in sorted(places)[:keep]:
            scheduler = "continuous" if switched else tier.scheduler
            candidate = _candidate(tier, parts[part_number], row, scheduler)
            chosen[candidate.tier] = candidate
    return Screened(looked_at=looked_at, kept=tuple(sorted(chosen.values(), key=_gentle)), nearest=nearest)


_Place: TypeAlias = tuple[bool, float, float, int, int]
"""Of a design in a ranking: whether it is doubtful, the two figures that it is ranked by, its part and row."""


def _switches(tier: ServedTier, columns: dict[str, NDArray[Any]], row: int) -> bool:
    """Whether continuous batching is a scheduler of its own to try; the screen's times are the same under any.

    They are those of a replica alone or full. Speculation takes continuous batching anyway.
    """
    return tier.scheduler != "continuous" and not columns["draft_tokens"][row]


def _gentle(c: Candidate) -> tuple[object, ...]:
    return (c.moves, c.excess > 1.0, c.loss, c.usd_per_hour, str(c.tier))


@dataclass(frozen=True, slots=True)
class _Part:
    """A model on a device, with the formats and ranks that both allow."""

    base: Design
    weights: tuple[str, ...]
    kv: tuple[str, ...]
    ranks: tuple[int, ...]


def _parts(tier: ServedTier, models: Sequence[str]) -> Iterator[_Part]:
    own = find.model(tier.model)
    chosen = [own.name, *(name for name in models if name != own.name and find.model(name).params <= own.params)]
    for device in _devices(tier):
        for name in dict.fromkeys(chosen):
            linked = device.link_bytes_per_s is not None
            ranks = dict.fromkeys((tier.tp, *(RANKS if tier.pooled else (1,))) if linked else (1,))
            formats = dict.fromkeys((tier.weights, *WEIGHTS))
            weights = tuple(w for w in formats if _design(name, device.name, w, 1, tier.engine) is not None)
            fitting = tuple(r for r in ranks if weights and _design(name, device.name, weights[0], r, tier.engine))
            if weights and fitting:
                kv = (tier.kv, "fp8") if tier.kv in ("bf16", "fp16") and "fp8" in device.peak_flop_per_s else (tier.kv,)
                base = _design(name, device.name, weights[0], fitting[0], tier.engine)
                assert base is not None  # it was built a line above
                yield _Part(base, weights, kv, fitting)


@cache
def _design(model: str, device: str, weights: str, tp: int, engine: str) -> Design | None:
    try:
        serving = Serving(weights=weights, tp=float(tp), engine=engine)
        return Design(model=find.model(model), device=device_of(device), serving=serving)
    except ReckonerError:
        return None


def _devices(tier: ServedTier) -> list[Device]:
    """Planned device and the best others of its tier: most bandwidth for their rent, or most where users own them."""
    own = device_of(tier.device)
    if tier.pooled and tier.usd_per_hour is not None:
        return [own]  # another device's rent would be a guess
    worth: dict[str, float] = {}
    for device in _of_tier(own.tier):
        usd = rent(tier, device.name)
        if device.name != own.name and usd is not None:
            worth[device.name] = device.bandwidth_bytes_per_s / (usd or 1.0)
    best = sorted(worth, key=lambda name: (-worth[name], name))[:OTHER_DEVICES]
    return [own, *(device_of(name) for name in best)]


@cache
def _of_tier(tier: str) -> tuple[Device, ...]:
    found = (device_of(name) for name in find.devices())
    return tuple(d for d in found if d.tier == tier and d.peak_flop_per_s and d.memory_bytes >= 2**30)


def _ladder(value: int) -> list[float]:
    """Answer lengths from the planned one down by halves."""
    steps = [value]
    while steps[-1] > 1:
        steps.append(max(1, steps[-1] // 2))
    return [float(x) for x in steps]


def _columns(tier: ServedTier, part: _Part, demand_per_s: float, slo: Slo) -> dict[str, NDArray[Any]]:
    batches = sorted({*BATCHES, tier.batch}) if tier.pooled else [tier.batch]
    drafts = [0.0, float(DRAFT_TOKENS)] if not tier.draft_tokens and tier.pooled else [float(tier.draft_tokens)]
    axes: dict[str, Any] = {
        "weights": list(part.weights),
        "kv": list(part.kv),
        "output_tokens": _ladder(tier.output_tokens),
        "draft_tokens": drafts,
    }
    if len(part.ranks) > 1:
        axes["tp"] = [float(r) for r in part.ranks]
    work = Workload(prompt_tokens=float(tier.prompt_tokens), output_tokens=1.0)
    grid = sweep(part.base, work, batch=[float(b) for b in batches], **axes)
    alone = {name: _column(grid, name, len(batches))[:1] for name in ("ttft_s", "tpot_s", "e2e_s")}
    shape = _column(grid, "requests_per_s", len(batches)).shape
    excess = np.zeros(shape[1])
    for name, limit in (("ttft_s", slo.ttft_p99_s), ("tpot_s", slo.tpot_p99_s), ("e2e_s", slo.e2e_p99_s)):
        if limit is not None:
            excess = np.maximum(excess, alone[name][0] / limit)
    each = np.broadcast_to(excess, shape)
    fits = _column(grid, "fits", len(batches)).astype(bool)
    rate = _column(grid, "requests_per_s", len(batches))
    with np.errstate(divide="ignore"):
        room = WAITING * np.array(batches, dtype=np.float64)[:, None] * np.maximum(1.0 / each - 1.0, 0.01)
    usable = np.minimum(1.0 / (1.0 + 1.0 / room), FULL)  # room without end where no latency was promised
    replicas = (
        np.maximum(np.ceil(demand_per_s / (usable * rate)), 1.0) if tier.pooled else np.full(shape, tier.replicas)
    )
    most = MOST_REPLICAS if tier.pooled else np.inf
    device = part.base.device
    usd = rent(tier) if device == device_of(tier.device) else rent(tier, device.name)
    tp = _column(grid, "tp", len(batches)) if "tp" in axes else np.full(shape, float(part.ranks[0]))
    count = np.where(replicas <= tier.replicas, float(tier.replicas), replicas)  # more than enough is no move
    hourly = np.full(shape, np.inf) if usd is None else usd * tp * count
    same = design_of(replace_batch(tier))
    moves = np.full(shape, float(part.base.model.name != same.model.name) + (part.base.device != same.device))
    moves += count != tier.replicas
    columns: dict[str, NDArray[Any]] = {}
    for name, current in (
        ("weights", tier.weights), ("kv", tier.kv), ("tp", tier.tp), ("batch", tier.batch),
        ("output_tokens", tier.output_tokens), ("draft_tokens", tier.draft_tokens),
    ):  # fmt: skip
        values = tp if name == "tp" else _column(grid, name, len(batches))
        columns[name] = values.reshape(-1)
        moves += values != current
    if tier.scheduler != "continuous":
        moves += columns["draft_tokens"].reshape(shape) != 0.0  # speculation takes continuous batching
    bits = {w: find.precision(w).bits for w in {*part.weights, tier.weights}}
    fewer = {w: max(math.log(bits[tier.weights] / bits[w]), 0.0) for w in part.weights}
    loss = np.array([fewer[w] for w in columns["weights"].tolist()])
    loss += np.log(tier.output_tokens / columns["output_tokens"].astype(np.float64))
    loss += max(math.log(float(same.model.params) / float(part.base.model.params)), 0.0)
    columns |= {
        "loss": loss,
        "excess": np.where(fits & (count <= most), each, np.inf).reshape(-1),
        "usd": hourly.reshape(-1),
        "moves": moves.reshape(-1),
        "replicas": np.minimum(count, most).reshape(-1),
    }
    columns["model"] = np.full(moves.size, part.base.model.name, dtype=object)
    columns["device"] = np.full(moves.size, part.base.device.name, dtype=object)
    return columns


def _column(grid: Sweep, name: str, batches: int) -> NDArray[Any]:
    """One column, batches along the first axis."""
    return grid.column(name).reshape(batches, -1)


def _candidate(tier: ServedTier, columns: dict[str, NDArray[Any]], row: int, scheduler: str) -> Candidate:
    model, device = str(columns["model"][row]), str(columns["device"][row])
    current = design_of(replace_batch(tier))
    drafts = int(columns["draft_tokens"][row])
    new = replace(
        tier,
        model=tier.model if model == current.model.name else model,
        device=tier.device if device == current.device.name else device,
        weights=str(columns["weights"][row]),
        kv=str(columns["kv"][row]),
        tp=int(columns["tp"][row]),
        batch=int(columns["batch"][row]),
        output_tokens=int(columns["output_tokens"][row]),
        scheduler="continuous" if drafts else scheduler,
        draft_tokens=drafts,
        replicas=int(columns["replicas"][row]),
    )
    loss, usd, excess = (float(columns[name][row]) for name in ("loss", "usd", "excess"))
    return Candidate(new, moves_between(tier, new), loss, usd, excess)


def moves_between(old: ServedTier, new: ServedTier) -> int:
    """Fields that differ, replicas among them."""
    return sum(getattr(old, name) != getattr(new, name) for name in (*FIELDS, "replicas"))
