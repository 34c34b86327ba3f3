"""One broken promise repaired by one named change: what a failure banner offers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from reckoner.audit.advise import Move, moves_of, settle
from reckoner.audit.candidates import MODELS, WEIGHTS
from reckoner.audit.plan import MicroTier, Plan, ServedTier, Tier, device_of
from reckoner.audit.run import Audit, audit
from reckoner.audit.served import availability
from reckoner.audit.verdict import Verdict
from reckoner.catalogue import find
from reckoner.errors import ReckonerError

SPARES = 8
"""Replicas beyond the needed ones that are tried for availability. Assumption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A changed plan in which a promise that was broken is kept.

    Parameters
    ----------
    verdict : Verdict
        The broken promise.
    plan : Plan
        The changed plan.
    moves : tuple of Move
        What was changed.
    """

    verdict: Verdict
    plan: Plan
    moves: tuple[Move, ...]

    @property
    def says(self) -> str:
        """The change in words."""
        return "; ".join(str(move) for move in self.moves)


def repair(found: Audit, verdict: Verdict) -> Repair | None:
    """Find the change of one field that repairs a promise, by arithmetic; None where that takes a search or a person.

    Parameters
    ----------
    found : Audit
        In which the promise is broken.
    verdict : Verdict
        One of its failed verdicts.

    Returns
    -------
    Repair or None
        Audited again: its promise is kept. Other promises may still be broken.
    """
    second: Repair | None = None
    for changed in _changes(found, verdict):
        after = audit(changed)
        now = after.verdict(verdict.name, verdict.tier)
        # A fleet that answers one token at a time has no gap between tokens left to judge.
        if now is None or now.holds:
            made = Repair(verdict=verdict, plan=changed, moves=moves_of(found.plan, changed))
            # Weights that just fit may leave no room to serve anybody: better what can be judged.
            if not any(v.tier == verdict.tier for v in after.unknown):
                return made
            second = second or made
    return second


def repair_tier(found: Audit, name: str) -> Repair | None:
    """Find the fewest changes of a tier after which it keeps every promise of its own; None where none is found.

    It looks through models, devices, formats, batches, answer lengths, speculation and replicas, as
    :func:`~reckoner.audit.advise.advise` does for the whole plan.
    """
    broken = next((v for v in (*found.failed, *found.unknown) if v.tier == name), None)
    if broken is None:
        return None
    tier = settle(found.plan, name, models=MODELS)
    if tier is None:
        return None
    changed = replace(found.plan, tiers={**found.plan.tiers, name: tier})
    return Repair(verdict=broken, plan=changed, moves=moves_of(found.plan, changed))


def _changes(found: Audit, verdict: Verdict) -> list[Plan]:
    """Plans that could repair a promise, gentlest first."""
    plan, name = found.plan, verdict.tier
    if name:
        tier = plan.tiers[name]
        changes = _micro(tier, verdict) if isinstance(tier, MicroTier) else _served(found, name, tier, verdict)
        return [made for fields in changes if (made := _with(plan, name, fields)) is not None]
    if verdict.name == "psi" and plan.drift.psi_per_day:
        days = math.floor(plan.drift.max_psi / plan.drift.psi_per_day * (1 + 1e-12))
        return [replace(plan, drift=replace(plan.drift, retrain_days=float(days)))] if days >= 1 else []
    if verdict.name == "quality_after_drift":
        return _sooner(plan)
    if verdict.name == "fairness_gap" and plan.fairness is not None and verdict.value is not None:
        wider = math.ceil(100 * verdict.value - 1e-9) / 100
        return [replace(plan, fairness=replace(plan.fairness, max_gap=wider))] if wider <= 1 else []
    if verdict.name == "availability":
        return _spared(found)
    return _fewer(found) if verdict.name in ("usd_per_request", "max_power_w") else []


def _served(found: Audit, name: str, tier: ServedTier, verdict: Verdict) -> list[Mapping[str, object]]:
    if verdict.name == "memory_bytes":
        bits = find.precision(tier.weights).bits
        able = device_of(tier.device).peak_flop_per_s
        lighter = [w for w in WEIGHTS if find.precision(w).bits < bits and (w != "fp8" or w in able)]
        smaller = [2**power for power in range(tier.batch.bit_length() - 1, -1, -1) if 2**power < tier.batch]
        ranks = [tier.tp * 2**power for power in (1, 2, 3)] if tier.pooled else []
        return [
            *({"weights": weights} for weights in lighter),
            *({"tp": rank} for rank in ranks),
            *({"batch": batch} for batch in smaller),
        ]
    if verdict.name == "requests_per_s":
        needed = found.figures[name]["needed"].value if "needed" in found.figures[name] else None
        return [] if needed is None else [{"replicas": int(needed)}]
    return []


def _micro(tier: MicroTier, verdict: Verdict) -> list[Mapping[str, object]]:
    if verdict.value is None:
        return []
    device = device_of(tier.device)
    if verdict.name == "flash_bytes":
        room = (device.flash_bytes or 0.0) - tier.code_bytes
        used = verdict.value - tier.code_bytes
        return [{"params": _round(tier.params * room / used)}] if room > 0 else []
    if verdict.name == "sram_bytes":
        room = device.memory_bytes - tier.runtime_bytes
        return [{"activation_bytes": math.floor(room)}] if room > 0 else []
    if verdict.name == "e2e_p99_s":
        return [{"params": _round(tier.params * verdict.limit / verdict.value), "macs": None}]
    if verdict.name == "requests_per_s" and verdict.value > 0:
        return [{"replicas": math.ceil(tier.replicas * verdict.limit / verdict.value)}]
    return []


def _spared(found: Audit) -> list[Plan]:
    """Replicas that stand in for failing ones, in pooled tiers alike; nothing where a tier cannot carry its load."""
    plan, needed = found.plan, {}
    for name, tier in plan.tiers.items():
        if isinstance(tier, ServedTier):
            of = found.figures[name]["needed"].value if "needed" in found.figures[name] else None
            if of is None or of > tier.replicas:
                return []
            if tier.pooled:
                needed[name] = int(of)
    asked = plan.slo.availability or 0.0
    for spares in range(1, SPARES + 1):
        tiers = dict(plan.tiers)
        for name, least in needed.items():
            old = plan.tiers[name]
            tiers[name] = replace(old, replicas=max(least + spares, old.replicas))
        up = sum(tier.share * _up(found, name, tier, needed) for name, tier in tiers.items())
        if up >= asked:
            return [replace(plan, tiers=tiers)]
    return []


def _up(found: Audit, name: str, tier: Tier, needed: Mapping[str, int]) -> float:
    """Share of time that a tier answers, with as many replicas needed as before."""
    if name in needed and isinstance(tier, ServedTier):
        return availability(tier, needed[name])
    return found.figures[name]["availability"].value or 0.0


def _fewer(found: Audit) -> list[Plan]:
    """No more replicas than are needed, in the tier whose rent falls most."""
    plans = []
    for name, tier in found.plan.tiers.items():
        if isinstance(tier, ServedTier) and tier.pooled and "needed" in found.figures[name]:
            needed = found.figures[name]["needed"].value
            if needed is not None and needed < tier.replicas:
                plans.append(found.plan.with_tier(name, replicas=int(needed)))
    return plans


def _sooner(plan: Plan) -> list[Plan]:
    days = [float(d) for d in (60, 30, 14, 7, 3, 1) if d < plan.drift.retrain_days]
    return [replace(plan, drift=replace(plan.drift, retrain_days=d)) for d in days]


def _with(plan: Plan, name: str, fields: Mapping[str, object]) -> Plan | None:
    """The plan with the fields changed; None where no such design can be built."""
    try:
        return plan.with_tier(name, **fields)
    except ReckonerError:
        return None


def _round(value: float) -> float:
    """Down to two digits: nobody designs a network to the weight."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(math.floor(value / step + 1e-9) * step)
