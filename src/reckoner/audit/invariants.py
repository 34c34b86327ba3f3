"""The seven invariants, each with the figures of one plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reckoner.audit.figures import Figure
from reckoner.audit.plan import Drift, Fairness, ServedTier, design_of
from reckoner.audit.served import Served, replace_batch
from reckoner.physics.amdahl import speedup
from reckoner.physics.drift import verdict
from reckoner.physics.fairness import false_positive_gap, false_positive_rate
from reckoner.physics.queueing import little_number
from reckoner.physics.roofline import attainable, ridge
from reckoner.predict.plan import prepare
from reckoner.predict.terms import Limits, terms
from reckoner.predict.work import decode_work, kv_copies

NAMES = (
    "iron law",
    "memory wall",
    "amdahl",
    "roofline",
    "little",
    "degradation",
    "fairness",
)
"""In the order in which they are taught."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """One law with the figures of a plan.

    Parameters
    ----------
    name : str
        One of :data:`NAMES`.
    tier : str
        The tier that it bears hardest on; empty for the whole plan.
    law : str
        The equation.
    figures : mapping of str to Figure
        What stands in it.
    says : str
        What follows, in a sentence; "unknown" and why where it cannot be said.
    """

    name: str
    tier: str
    law: str
    figures: Mapping[str, Figure]
    says: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "tier": self.tier or None,
            "law": self.law,
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
            "says": self.says,
        }


def invariants(
    tiers: Mapping[str, tuple[ServedTier, Served, float]], drift: Drift, fairness: Fairness | None
) -> tuple[Invariant, ...]:
    """All seven, for the served tier with most traffic and the plan as a whole.

    Parameters
    ----------
    tiers : mapping
        Served tiers by name, with what they do and their demand.
    drift, fairness
        Of the plan.
    """
    found: list[Invariant] = []
    if tiers:
        name = max(tiers, key=lambda each: (tiers[each][2], each))
        tier, served, demand = tiers[name]
        found += _machine(name, tier, served, demand)
    return (*found, _degradation(drift), _fairness(fairness))


def _machine(name: str, tier: ServedTier, served: Served, demand_per_s: float) -> list[Invariant]:
    design = design_of(replace_batch(tier))
    plan, o = prepare(design), served.prediction.outcome
    context = tier.prompt_tokens + tier.output_tokens / 2.0
    batch, tp = float(tier.batch), float(tier.tp)
    copies = kv_copies(plan.shape.kv_heads, tp)
    work = decode_work(plan.shape, np.asarray(batch), np.asarray(context), 0.0, copies)
    limits = Limits(plan.bandwidth_bytes_per_s, plan.peak_flop_per_s, plan.link_bytes_per_s, tp, tp, 1.0)
    least = terms(work, limits)
    bytes_s = float(np.asarray(least.weights_s + least.kv_s))
    compute_s = float(np.asarray(least.compute_s))
    step_s = float(np.asarray(o.step.total_s))
    shared_s = float(np.asarray(o.step.layers_s + o.step.link_s))
    serial = min(shared_s / step_s, 1.0)
    moved = bytes_s * plan.bandwidth_bytes_per_s
    flops = compute_s * plan.peak_flop_per_s
    at = flops / moved
    edge = float(ridge(plan.peak_flop_per_s, plan.bandwidth_bytes_per_s))
    reached = float(attainable(at, plan.peak_flop_per_s, plan.bandwidth_bytes_per_s)) / plan.peak_flop_per_s
    iron = Invariant(
        name="iron law", tier=name, law="T = max(bytes / bandwidth, FLOP / peak) + overhead",
        figures={
            "bytes_s": _plain(bytes_s, "s"), "flop_s": _plain(compute_s, "s"),
            "overhead_s": _plain(max(step_s - max(bytes_s, compute_s), 0.0), "s"), "step_s": _plain(step_s, "s"),
        },
        says=f"a step of {batch:g} sequences takes {1e3 * step_s:.3g} ms, of which {1e3 * bytes_s:.3g} ms is moving "
        f"bytes and {1e3 * compute_s:.3g} ms arithmetic at the printed limits",
    )  # fmt: skip
    wall = Invariant(
        name="memory wall", tier=name, law="tokens/s of one sequence <= bandwidth / bytes of the weights",
        figures={
            "weight_bytes": _plain(float(np.asarray(o.memory.weights)), "B"),
            "tokens_per_s_at_most": _plain(1.0 / float(np.asarray(least.weights_s)), "1/s"),
            "share_of_step": _plain(min(bytes_s / step_s, 1.0), ""),
        },
        says=f"no sequence gets more than {1.0 / float(np.asarray(least.weights_s)):.3g} tokens/s, whatever the "
        f"arithmetic; {100 * min(bytes_s / step_s, 1.0):.0f} % of a step is waiting for memory",
    )  # fmt: skip
    law = Invariant(
        name="amdahl", tier=name, law="speedup(N) = 1 / (s + (1 - s) / N)",
        figures={
            "serial_share": _plain(serial, ""),
            "speedup_of_8": _plain(float(speedup(serial, 8.0)), ""),
            "speedup_at_most": _plain(1.0 / serial if serial > 0.0 else np.inf, ""),
        },
        says=f"{100 * serial:.0f} % of a step is not shared out, so eight devices a replica make it "
        f"{float(speedup(serial, 8.0)):.2g} times as fast, and no number more than {1.0 / max(serial, 1e-12):.3g}",
    )  # fmt: skip
    roof = Invariant(
        name="roofline", tier=name, law="FLOP/s <= min(peak, intensity x bandwidth)",
        figures={
            "intensity": _plain(at, "FLOP/B"), "ridge": _plain(edge, "FLOP/B"), "share_of_peak": _plain(reached, ""),
        },
        says=f"decode does {at:.3g} FLOP a byte where the ridge is at {edge:.3g}: at most {100 * reached:.2g} % of the "
        "peak can be used",
    )  # fmt: skip
    e2e = served.simulation.latency_s("e2e").mean() if served.simulation is not None else None
    if e2e is None:
        little = Invariant(
            name="little", tier=name, law="L = lambda W", figures={"inside": Figure(None, None, None, "")},
            says="unknown: nothing can be served, or the queue grows without end",
        )  # fmt: skip
    else:
        each = demand_per_s / tier.replicas
        inside = float(little_number(each, float(e2e)))
        little = Invariant(
            name="little", tier=name, law="L = lambda W",
            figures={
                "arrivals_per_s": _plain(each, "1/s"), "e2e_s": _plain(float(e2e), "s"), "inside": _plain(inside, ""),
            },
            says=f"{each:.3g} requests a second that stay {float(e2e):.3g} s make {inside:.3g} inside a replica with "
            f"{tier.batch} places",
        )  # fmt: skip
    return [iron, wall, law, roof, little]


def _degradation(drift: Drift) -> Invariant:
    law = "A(t) = A0 - lambda x PSI(t)"
    if drift.psi_per_day is None:
        return Invariant(
            name="degradation", tier="", law=law, figures={"psi": Figure(None, None, None, "")},
            says="unknown: nobody stated how far the input drifts in a day (drift.psi_per_day)",
        )  # fmt: skip
    index = drift.psi_per_day * drift.retrain_days
    figures = {"psi": _plain(index, ""), "retrain_days": _plain(drift.retrain_days, "d")}
    says = f"after {drift.retrain_days:g} days the index stands at {index:.3g}, a {verdict(index)} shift"
    if drift.loss_per_psi is not None:
        figures["accuracy_lost"] = _plain(drift.loss_per_psi * index, "")
        says += f"; {100 * drift.loss_per_psi * index:.2g} points of accuracy are gone by then"
    return Invariant(name="degradation", tier="", law=law, figures=figures, says=says)


def _fairness(fairness: Fairness | None) -> Invariant:
    law = "FPR = p / (1 - p) x (1 - PPV) / PPV x (1 - FNR)"
    if fairness is None or fairness.base_rate_a is None or fairness.base_rate_b is None:
        why = "no decision about people was stated" if fairness is None else "nobody counted the groups' base rates"
        return Invariant(
            name="fairness", tier="", law=law, figures={"gap": Figure(None, None, None, "")},
            says=f"unknown: {why} (fairness.base_rate_a and base_rate_b)",
        )  # fmt: skip
    f = fairness
    a, b = (float(false_positive_rate(p, f.ppv, f.fnr)) for p in (fairness.base_rate_a, fairness.base_rate_b))
    gap = forced_gap(fairness)
    assert gap is not None  # both base rates are known here
    return Invariant(
        name="fairness", tier="", law=law,
        figures={"fpr_a": _plain(a, ""), "fpr_b": _plain(b, ""), "gap": _plain(gap, "")},
        says=f"groups with base rates {f.base_rate_a:g} and {f.base_rate_b:g} that share precision and false negatives "
        f"differ by {100 * gap:.2g} points in false positives, whoever trains the model",
    )  # fmt: skip


def forced_gap(fairness: Fairness) -> float | None:
    """Gap in false positive rates that the base rates force; None where nobody counted them."""
    if fairness.base_rate_a is None or fairness.base_rate_b is None:
        return None
    return abs(float(false_positive_gap(fairness.base_rate_a, fairness.base_rate_b, fairness.ppv, fairness.fnr)))


def _plain(value: float, unit: str) -> Figure:
    return Figure(float(value), None, None, unit)
