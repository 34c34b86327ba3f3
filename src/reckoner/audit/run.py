"""A plan is held against what was promised."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reckoner.audit import micro, served
from reckoner.audit.figures import Figure, Figures
from reckoner.audit.invariants import Invariant, forced_gap, invariants
from reckoner.audit.plan import MicroTier, Plan, ServedTier
from reckoner.audit.plan_file import plan_to_dict
from reckoner.audit.verdict import Verdict, at_least, at_most
from reckoner.catalogue import find


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What an audit found.

    Parameters
    ----------
    plan : Plan
        What was audited.
    verdicts : tuple of Verdict
        Tier by tier, then the plan as a whole.
    figures : mapping of str to Figures
        Of each tier, and of the whole plan under "".
    invariants : tuple of Invariant
        The seven laws with the plan's figures.
    """

    plan: Plan
    verdicts: tuple[Verdict, ...]
    figures: Mapping[str, Figures]
    invariants: tuple[Invariant, ...]

    @property
    def feasible(self) -> bool | None:
        """True where nothing failed and nothing is unknown; False where something failed; else None."""
        if self.failed:
            return False
        return None if self.unknown else True

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """Promises that are broken."""
        return tuple(v for v in self.verdicts if v.holds is False)

    @property
    def unknown(self) -> tuple[Verdict, ...]:
        """Promises that nobody can judge."""
        return tuple(v for v in self.verdicts if v.holds is None)

    def verdict(self, name: str, tier: str = "") -> Verdict | None:
        """Return one verdict; None where nothing of that name was promised."""
        return next((v for v in self.verdicts if v.name == name and v.tier == tier), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "plan": plan_to_dict(self.plan),
            "feasible": self.feasible,
            "failed": len(self.failed),
            "unknown": len(self.unknown),
            "verdicts": [v.to_dict() for v in self.verdicts],
            "figures": {
                tier or "plan": {name: figure.to_dict() for name, figure in sorted(figures.items())}
                for tier, figures in self.figures.items()
            },
            "invariants": [i.to_dict() for i in self.invariants],
        }


def audit(plan: Plan) -> Audit:
    """Hold a plan against its promises.

    Parameters
    ----------
    plan : Plan
        Such as :func:`~reckoner.audit.brief.brief`, or read by :func:`~reckoner.audit.plan_file.read_plan`.

    Returns
    -------
    Audit
        Tails come from the simulator (:data:`~reckoner.audit.served.REQUESTS` requests at each replica's share of the
        demand; a share of a Poisson stream drawn at random is one). Intervals hold the sampling error of the tail and
        what held-out measurements say of the model's. The same plan gives the same figures.

    Examples
    --------
    >>> from reckoner.audit.brief import brief
    >>> found = audit(brief())
    >>> found.feasible, found.verdict("flash_bytes", "tinyml").holds
    (False, False)
    """
    verdicts: list[Verdict] = []
    figures: dict[str, Figures] = {}
    done: dict[str, tuple[ServedTier, served.Served, float]] = {}
    up = 0.0
    for name, tier in plan.tiers.items():
        demand = plan.demand(name)
        if isinstance(tier, MicroTier):
            found = micro.figures_of(tier, demand)
            verdicts += micro.judge(name, tier, found, demand, plan.headroom, plan.slo)
            available = tier.availability
        else:
            of = served.serve(tier, demand, plan.headroom, plan.slo)
            verdicts += served.judge(name, tier, of, demand, plan.headroom, plan.slo)
            done[name] = (tier, of, demand)
            available = served.availability(tier, of.needed)
            found = dict(of.figures)
            found["needed"] = Figure(None if of.needed is None else float(of.needed), None, None, "")
        figures[name] = {**found, "availability": Figure(available, None, None, "")}
        up += tier.share * available
    whole = _whole(plan, figures, up)
    figures[""] = whole
    return Audit(
        plan=plan,
        verdicts=(*verdicts, *_overall(plan, whole)),
        figures=figures,
        invariants=invariants(done, plan.drift, plan.fairness),
    )


def _whole(plan: Plan, figures: Mapping[str, Figures], up: float) -> Figures:
    carried = sum(_carried(plan.demand(name), figures[name]) for name in plan.tiers)
    usd = _sum([f["usd_per_hour"] for f in figures.values()], "USD/h")
    watts = [
        figures[name].get("power_w", Figure(None, None, None, "W"))
        for name, tier in plan.tiers.items()
        if isinstance(tier, ServedTier) and tier.pooled  # a phone's battery is its owner's
    ]
    whole = {
        "usd_per_hour": usd,
        "usd_per_request": Figure(
            None if usd.value is None or not carried else usd.value / 3600.0 / carried, None, None, "USD"
        ),
        "power_w": _sum(watts, "W"),
        "availability": Figure(up, None, None, ""),
        "quality": _quality(plan),
    }
    drift, fresh = plan.drift, whole["quality"]
    if drift.psi_per_day is not None:
        index = drift.psi_per_day * drift.retrain_days
        whole["psi"] = Figure(index, None, None, "")
        if drift.loss_per_psi is not None:
            lost = drift.loss_per_psi * index
            whole["accuracy_lost"] = Figure(lost, None, None, "")
            whole["quality_after_drift"] = fresh.moved(lambda x: max(0.0, x - lost))
    if plan.fairness is not None:
        whole["fairness_gap"] = Figure(forced_gap(plan.fairness), None, None, "")
    return whole


def _carried(demand_per_s: float, figures: Figures) -> float:
    """Requests that are answered: a tier over its capacity answers no more than that."""
    capacity = figures.get("capacity_per_s")
    return 0.0 if capacity is None or capacity.value is None else min(demand_per_s, capacity.value)


def _overall(plan: Plan, whole: Figures) -> list[Verdict]:
    slo, none = plan.slo, Figure(None, None, None, "")
    verdicts = []
    for name, limit, ceiling, unit, binding, unknown, broken in (
        (
            "usd_per_request", slo.usd_per_request, True, "USD", "rent of all devices",
            "state usd_per_hour of every device that is not its user's own",
            "fewer or cheaper devices: fewer bits, larger batches, shorter answers",
        ),
        (
            "availability", slo.availability, False, "", "replicas that stand in for failing ones",
            "it must carry its demand first", "more replicas than are needed, or better ones",
        ),
        (
            "max_power_w", slo.max_power_w, True, "W", "devices at work",
            "a device has no power limit in the catalogue, or a tier cannot serve", "fewer or smaller devices",
        ),
        (
            "min_quality", slo.min_quality, False, "", "what was measured, by share of traffic",
            "measure the quality of every tier's model in its format ([[quality]])", "more bits, or a better model",
        ),
    ):  # fmt: skip
        if limit is None:
            continue
        at = whole.get({"max_power_w": "power_w", "min_quality": "quality"}.get(name, name), none)
        verdicts.append(_verdict(name, at, limit, ceiling, unit, binding, unknown, broken))
    if slo.min_quality is not None:
        at = whole.get("quality_after_drift", none)
        verdicts.append(
            _verdict(
                "quality_after_drift", at, slo.min_quality, False, "", "drift until the next retraining",
                "measure the quality, and state drift.psi_per_day and drift.loss_per_psi", "retrain more often",
            )
        )  # fmt: skip
    at = whole.get("psi", none)
    verdicts.append(
        _verdict(
            "psi", at, plan.drift.max_psi, True, "", "drift until the next retraining",
            "state how far the input drifts in a day (drift.psi_per_day)", _sooner(plan),
        )
    )  # fmt: skip
    if plan.fairness is not None:
        verdicts.append(
            _verdict(
                "fairness_gap", whole["fairness_gap"], plan.fairness.max_gap, True, "", "unequal base rates",
                "count both groups' base rates (fairness.base_rate_a and base_rate_b)",
                "no model repairs it: allow a wider gap, or give up equal precision or equal false negatives",
            )
        )  # fmt: skip
    return verdicts


def _verdict(
    name: str, at: Figure, limit: float, ceiling: bool, unit: str, binding: str, unknown: str, broken: str
) -> Verdict:
    holds = at_most(at.value, limit) if ceiling else at_least(at.value, limit)
    return Verdict(
        name=name, tier="", holds=holds, limit=limit, value=at.value, low=at.low, high=at.high, unit=unit,
        at_least=not ceiling, binding=binding, fix="" if holds else unknown if holds is None else broken,
    )  # fmt: skip


def _sooner(plan: Plan) -> str:
    """Cadence that keeps the index, in words; empty where the planned one does."""
    drift = plan.drift
    if not drift.psi_per_day or drift.psi_per_day * drift.retrain_days <= drift.max_psi:
        return ""
    days = math.floor(drift.max_psi / drift.psi_per_day * (1 + 1e-12))
    return f"retrain every {days:,} days" if days else "the input drifts further in a day; no whole day is short enough"


def _quality(plan: Plan) -> Figure:
    """Quality weighted by traffic, with its Wilson interval; None as soon as one tier's was not measured."""
    values, spread = 0.0, 0.0
    known = {(find.model(m.model).name, find.precision(m.weights).name): m for m in plan.quality}
    for tier in plan.tiers.values():
        if isinstance(tier, MicroTier):
            continue  # a trigger answers nobody
        entry = known.get((find.model(tier.model).name, find.precision(tier.weights).name))
        if entry is None:
            return Figure(None, None, None, "")
        served_share = sum(t.share for t in plan.tiers.values() if isinstance(t, ServedTier))
        weight = tier.share / served_share if served_share else 0.0
        middle, half = _wilson(entry.value, entry.n)
        values += weight * entry.value
        spread += (weight * (half + abs(middle - entry.value))) ** 2
    half = math.sqrt(spread)
    return Figure(values, max(0.0, values - half), min(1.0, values + half), "")


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Middle and half width of the 90 % interval of a share (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    z2 = served.REACH**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    return middle, served.REACH / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))


def _sum(figures: list[Figure], unit: str) -> Figure:
    """Sum; the ends add up as well, which is too wide for errors that are independent and right for shared ones."""

    def total(values: list[float | None]) -> float | None:
        return None if any(v is None for v in values) else sum(v for v in values if v is not None)

    return Figure(
        total([f.value for f in figures]), total([f.low for f in figures]), total([f.high for f in figures]), unit
    )
