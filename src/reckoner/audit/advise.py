"""The smallest change that makes a plan keep its promises, or why none does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

import numpy as np

from reckoner.audit.candidates import MODELS, Candidate, moves_between, screen
from reckoner.audit.plan import MicroTier, Plan, ServedTier, Tier, device_of
from reckoner.audit.run import Audit, audit
from reckoner.audit.served import availability, judge, rent, serve
from reckoner.catalogue import find
from reckoner.design import Slo
from reckoner.physics.availability import k_of_n
from reckoner.predict.sweep import front
from reckoner.simulate.sizing import MOST_REPLICAS

TRIED = 8
"""Candidates of each number of moves that are simulated, cheapest first. Assumption."""
DEEPER = 2
"""Moves beyond the fewest up to which cheaper designs are sought. Assumption."""
MOST_COMBINED = 5  # designs of a tier that are combined with those of others
NETWORK_SHARES = (0.9, 0.75, 0.5, 0.25, 0.1)
"""Smaller trigger networks that are tried, as shares of the planned weights. Assumption."""

Report = Callable[[str], None]
"""Told a line about each step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One change of a plan."""

    tier: str
    field: str
    old: object
    new: object

    def __str__(self) -> str:
        place = f"{self.tier}: " if self.tier else ""
        return f"{place}{self.field.replace('_', ' ')} {_shown(self.old)} -> {_shown(self.new)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"tier": self.tier or None, "field": self.field, "old": self.old, "new": self.new}


def _shown(value: object) -> str:
    """A field's value as people write it: 9,500,000 and not 9500000.0."""
    return f"{value:,.12g}" if isinstance(value, (int, float)) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A changed plan, audited.

    Parameters
    ----------
    moves : tuple of Move
        What was changed.
    audit : Audit
        Of the changed plan.
    """

    moves: tuple[Move, ...]
    audit: Audit

    @property
    def usd_per_request(self) -> float:
        """Rent by request, in USD; infinite where unknown."""
        value = self.audit.figures[""]["usd_per_request"].value
        return math.inf if value is None else value

    @property
    def tightest(self) -> float:
        """Largest latency over its limit of all tiers; 0 where no latency was promised."""
        found = [v.value / v.limit for v in self.audit.verdicts if v.name.endswith("_p99_s") and v.value is not None]
        return max(found, default=0.0)

    @property
    def quality(self) -> float | None:
        """Quality weighted by traffic; None where unmeasured."""
        return self.audit.figures[""]["quality"].value

    @property
    def answer_tokens(self) -> float:
        """Tokens of an answer, weighted by traffic."""
        tiers = [t for t in self.audit.plan.tiers.values() if isinstance(t, ServedTier)]
        return sum(t.share * t.output_tokens for t in tiers)

    @property
    def served_params(self) -> float:
        """Weights of the served models, weighted by traffic: what stands for quality where nobody measured it."""
        tiers = [t for t in self.audit.plan.tiers.values() if isinstance(t, ServedTier)]
        share = sum(t.share for t in tiers)
        return sum(t.share * float(find.model(t.model).params) for t in tiers) / share if share else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "moves": [move.to_dict() for move in self.moves],
            "usd_per_request": self.usd_per_request if math.isfinite(self.usd_per_request) else None,
            "latency_over_limit": self.tightest if math.isfinite(self.tightest) else None,
            "quality": self.quality,
            "served_params": self.served_params,
            "audit": self.audit.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to change.

    Parameters
    ----------
    audit : Audit
        Of the plan as it stands.
    best : Option or None
        Fewest moves, then the longest answers, the largest models and the least rent, of those that pass when audited
        again; None where none does.
    alternatives : tuple of Option
        Others that pass and that no other one beats in cost, latency and quality (size of the models, where quality
        was not measured) at once; the best among them.
    nearest : Option or None
        Where none passes, what comes closest.
    looked_at, simulated : int
        Designs in the screen, and those whose tails were simulated.
    because : tuple of str
        Why none passes, by tier or promise; empty where one does.
    """

    audit: Audit
    best: Option | None
    alternatives: tuple[Option, ...]
    nearest: Option | None
    looked_at: int
    simulated: int
    because: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "feasible": self.audit.feasible,
            "best": None if self.best is None else self.best.to_dict(),
            "alternatives": [option.to_dict() for option in self.alternatives],
            "nearest": None if self.nearest is None else self.nearest.to_dict(),
            "looked_at": self.looked_at,
            "simulated": self.simulated,
            "because": list(self.because),
        }


def advise(plan: Plan | Audit, *, models: Sequence[str] = MODELS, report: Report | None = None) -> Advice:
    """Find the smallest change that makes a plan pass, and audit it again.

    Parameters
    ----------
    plan : Plan or Audit
        What to improve.
    models : sequence of str
        Smaller models to try besides each tier's own.
    report : callable, optional
        Told a line about each tier.

    Returns
    -------
    Advice
        Moves: model, device, number formats of weights and cache, tensor parallelism, batch, answer length,
        speculation, replicas, weights of the trigger network, retraining cadence. A base-rate gap, an unmeasured
        quality and an unknown rent are no matter of design: they stand in ``because``.

    Notes
    -----
    Tiers are searched apart, for they share only the bill: each keeps the cheapest design of every number of moves that
    passes alone, and all combinations of those are audited as wholes.
    """
    found = plan if isinstance(plan, Audit) else audit(plan)
    if found.feasible:
        option = Option(moves=(), audit=found)
        return Advice(
            audit=found, best=option, alternatives=(option,), nearest=None, looked_at=0, simulated=0, because=()
        )
    base, search = found.plan, _Search(report)
    choices = {name: search.tier(base, name, models) for name in base.tiers}
    cadence, stuck = _cadence(base)
    because = [*stuck, *(tiers.why for tiers in choices.values() if not tiers.passing)]
    options: list[Option] = []
    for combination in product(*(tiers.passing or (tiers.nearest,) for tiers in choices.values())):
        changed = replace(base, tiers=dict(zip(choices, combination, strict=True)), drift=cadence)
        options.append(Option(moves=moves_of(base, changed), audit=audit(changed)))
    passing = sorted((o for o in options if o.audit.feasible), key=_order)
    nearest = min(options, key=lambda o: (len(o.audit.failed), len(o.audit.unknown), *_order(o)))
    if not passing and not because:
        because = [f"{v.tier + ': ' if v.tier else ''}{v.name} {v.word}: {v.fix}" for v in nearest.audit.verdicts
                   if v.holds is not True]  # fmt: skip
    return Advice(
        audit=found,
        best=passing[0] if passing else None,
        alternatives=_pareto(passing),
        nearest=None if passing else nearest,
        looked_at=search.looked_at,
        simulated=search.simulated,
        because=() if passing else tuple(because),
    )


def settle(plan: Plan, name: str, *, models: Sequence[str] = MODELS) -> Tier | None:
    """Find the design of one tier that keeps all promises of its own with fewest moves; None where none does."""
    found = _Search(None).tier(plan, name, models)
    return found.passing[0] if found.passing else None


def moves_of(old: Plan, new: Plan) -> tuple[Move, ...]:
    """Every field that differs, tier by tier."""
    moves = []
    for name, tier in old.tiers.items():
        for spec in fields(tier):
            before, after = getattr(tier, spec.name), getattr(new.tiers[name], spec.name)
            if before != after:
                moves.append(Move(tier=name, field=spec.name, old=before, new=after))
    if old.drift.retrain_days != new.drift.retrain_days:
        moves.append(Move(tier="", field="retrain_days", old=old.drift.retrain_days, new=new.drift.retrain_days))
    if old.fairness is not None and new.fairness is not None and old.fairness.max_gap != new.fairness.max_gap:
        moves.append(Move(tier="", field="max_gap", old=old.fairness.max_gap, new=new.fairness.max_gap))
    return tuple(moves)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choices:
    """Designs of a tier that pass alone, the nearest one, and why none passes."""

    passing: tuple[Tier, ...]
    nearest: Tier
    why: str = ""


class _Search:
    """Searches tier by tier, counting what it looked at."""

    def __init__(self, report: Report | None) -> None:
        self.report = report
        self.looked_at = 0
        self.simulated = 0

    def tier(self, plan: Plan, name: str, models: Sequence[str]) -> _Choices:
        tier = plan.tiers[name]
        found = self._micro(plan, name, tier) if isinstance(tier, MicroTier) else self._served(plan, name, tier, models)
        if self.report is not None:
            self.report(f"{name}: {len(found.passing)} designs pass; {self.looked_at:,} looked at")
        return found

    def _served(self, plan: Plan, name: str, tier: ServedTier, models: Sequence[str]) -> _Choices:
        demand, slo = plan.demand(name), _latencies(plan.slo)
        kept = self._settled(plan, name, tier)
        if kept == tier:
            return _Choices(passing=(tier,), nearest=tier)
        allowed = models if plan.slo.min_quality is None else [m.model for m in plan.quality]
        screened = screen(tier, demand, slo, headroom=plan.headroom, models=allowed, keep=TRIED)
        self.looked_at += screened.looked_at
        passing: list[tuple[int, float, float, ServedTier]] = []
        if kept is not None:
            passing.append((1, 0.0, _hourly(kept), kept))
        for candidate in screened.kept:
            if passing and candidate.moves > min(found[0] for found in passing) + DEEPER:
                break
            if plan.slo.min_quality is not None and not _measured(plan, candidate.tier):
                continue
            settled = self._settled(plan, name, candidate.tier)
            if settled is not None:
                passing.append((moves_between(tier, settled), candidate.loss, _hourly(settled), settled))
        if passing:
            best = _worth_combining(passing)
            return _Choices(passing=tuple(best), nearest=best[0])
        return _nothing(name, tier, screened.nearest, screened.looked_at)

    def _settled(self, plan: Plan, name: str, tier: ServedTier) -> ServedTier | None:
        """Return the tier with as many replicas as it takes; None where no number keeps the promises."""
        demand, slo = plan.demand(name), _latencies(plan.slo)
        alone = serve(tier, min(demand, 1e-6), 0.0, slo)
        self.simulated += 1
        if any(v.holds is not True for v in judge(name, tier, alone, min(demand, 1e-6), 0.0, slo)):
            return None
        if not tier.pooled:
            return tier if _passes(plan, tier, self._needed(plan, name, tier)) else None
        planned = plan.tiers[name]
        assert isinstance(planned, ServedTier)  # asked of served tiers alone
        replicas = planned.replicas
        while (needed := self._needed(plan, name, replace(tier, replicas=replicas))) is None or needed > replicas:
            replicas = max(2 * replicas, needed or 0)
            if replicas > MOST_REPLICAS:
                return None
        total = _provided(needed, tier.availability, plan.slo.availability)
        return None if total is None else replace(tier, replicas=max(total, planned.replicas))

    def _needed(self, plan: Plan, name: str, tier: ServedTier) -> int | None:
        self.simulated += 1
        return serve(tier, plan.demand(name), plan.headroom, _latencies(plan.slo)).needed

    def _micro(self, plan: Plan, name: str, tier: MicroTier) -> _Choices:
        options = [tier, *(replace(tier, weights=w) for w in ("int8", "int4", "ternary") if w != tier.weights)]
        options += [replace(tier, params=tier.params * share) for share in NETWORK_SHARES]
        own = device_of(tier.device)
        for other in find.devices():
            device = device_of(other)
            if device.tier == own.tier and device.flash_bytes and device.name != own.name:
                options.append(replace(tier, device=device.name))
        self.looked_at += len(options)
        only = replace(plan, tiers={name: replace(tier, share=1.0)})
        slo = replace(plan.slo, requests_per_s=max(plan.demand(name), 1e-9))
        for option in options:
            found = audit(replace(only, slo=slo, tiers={name: replace(option, share=1.0)}))
            if all(v.holds for v in found.verdicts if v.tier):
                return _Choices(passing=(option,), nearest=option)
        return _Choices(
            passing=(), nearest=tier,
            why=f"{name}: none of {len(options)} changes of format, size or device keeps flash, SRAM and time",
        )  # fmt: skip


def _worth_combining(passing: list[tuple[int, float, float, ServedTier]]) -> list[Tier]:
    """For each number of moves the design that takes least, and the cheapest, as long as each is better than before."""
    best: list[Tier] = []
    least, cheapest = math.inf, math.inf
    for moves in sorted({found[0] for found in passing}):
        group = [found for found in passing if found[0] == moves]
        gentle = min(group, key=lambda f: (f[1], f[2], str(f[3])))
        cheap = min(group, key=lambda f: (f[2], f[1], str(f[3])))
        if not best or gentle[1] < least:
            best.append(gentle[3])
            least, cheapest = gentle[1], min(cheapest, gentle[2])
        if cheap[2] < cheapest:
            best.append(cheap[3])
            cheapest = cheap[2]
    return best[:MOST_COMBINED]


def _provided(needed: int, each: float, goal: float | None) -> int | None:
    """Fewest replicas of which the needed ones are up often enough; None where that takes more than anybody has."""
    if goal is None:
        return needed
    low, high = needed - 1, needed
    while k_of_n(needed, high, each) < goal:
        low, high = high, 2 * high
        if high > MOST_REPLICAS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if k_of_n(needed, middle, each) >= goal else (middle, high)
    return high


def _passes(plan: Plan, tier: ServedTier, needed: int | None) -> bool:
    if needed is None or needed > tier.replicas:
        return False
    return not tier.pooled or plan.slo.availability is None or availability(tier, needed) >= plan.slo.availability


def _latencies(slo: Slo) -> Slo:
    return Slo(ttft_p99_s=slo.ttft_p99_s, tpot_p99_s=slo.tpot_p99_s, e2e_p99_s=slo.e2e_p99_s)


def _measured(plan: Plan, tier: ServedTier) -> bool:
    name, weights = find.model(tier.model).name, find.precision(tier.weights).name
    return any(find.model(m.model).name == name and find.precision(m.weights).name == weights for m in plan.quality)


def _hourly(tier: ServedTier) -> float:
    usd = rent(tier)
    return math.inf if usd is None else usd * tier.devices


def _nothing(name: str, tier: ServedTier, nearest: Candidate | None, looked_at: int) -> _Choices:
    if nearest is None:
        return _Choices(passing=(), nearest=tier, why=f"{name}: no design of the catalogue can be built here")
    how = f"is {nearest.excess:.2g} times over even alone" if nearest.excess > 1.0 else "fails once requests meet"
    best = nearest.tier
    return _Choices(
        passing=(),
        nearest=best,
        why=f"{name}: of {looked_at:,} designs none keeps the promises; the nearest, {best.model} in {best.weights} on "
        f"{best.device} with {best.output_tokens} tokens out, {how}",
    )


def _cadence(plan: Plan) -> tuple[Any, list[str]]:
    """Drift with a cadence that keeps the index, and what no design changes."""
    drift, stuck = plan.drift, []
    if drift.psi_per_day is None:
        stuck.append("psi unknown: state how far the input drifts in a day (drift.psi_per_day)")
    elif drift.psi_per_day * drift.retrain_days > drift.max_psi:
        days = math.floor(drift.max_psi / drift.psi_per_day * (1.0 + 1e-12))
        if days < 1:
            stuck.append(f"psi: the input drifts past {drift.max_psi:g} within a day; no cadence keeps up")
        else:
            drift = replace(drift, retrain_days=float(days))
    return drift, stuck


def _order(option: Option) -> tuple[float, ...]:
    return (float(len(option.moves)), -option.answer_tokens, -option.served_params, option.usd_per_request)


def _pareto(options: Sequence[Option]) -> tuple[Option, ...]:
    if not options:
        return ()
    worth = [-(o.served_params if o.quality is None else o.quality) for o in options]
    costs = np.array([(o.usd_per_request, o.tightest, w) for o, w in zip(options, worth, strict=True)])
    kept = {0, *front(costs).tolist()}
    return tuple(options[i] for i in sorted(kept))
