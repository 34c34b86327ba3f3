"""Controls of a design and the plan that they stand for: values out of a plan, a plan out of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from reckoner.audit.plan import SCHEDULERS, MicroTier, Plan, Tier
from reckoner.catalogue import find
from reckoner.errors import InputError

SEED_GPUS: Final = 8
"""Accelerators that the seed's slider ends at; it grows when a repair needs more."""
TITLES: Final = {"cloud": "Cloud", "edge": "Edge", "mobile": "Mobile", "tinyml": "TinyML"}
FORMATS: Final = ("bf16", "fp16", "fp8", "int8", "int4", "ternary")
"""Number formats offered first; the catalogue's others follow."""

Kind = Literal["choice", "count", "number", "slider"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control: what it is called, what it holds, and between what it moves.

    Parameters
    ----------
    name : str
        Field of the plan, such as ``cloud.replicas`` or ``slo.e2e_p99_ms``.
    label : str
        Words beside it, with the unit.
    value : str or float
        As the plan has it.
    options : tuple of str
        Of a choice.
    least, most, step : float
        Of a number.
    first : bool
        Whether it stands in front; the others are opened on demand.
    """

    name: str
    label: str
    kind: Kind
    value: Any
    options: tuple[str, ...] = ()
    least: float = 0.0
    most: float = 0.0
    step: float = 1.0
    first: bool = True


def controls(plan: Plan) -> dict[str, tuple[Control, ...]]:
    """Controls of every tier of a plan, and of the plan as a whole under ``plan``."""
    anchor = next(iter(plan.tiers))
    groups = {name: _tier(name, tier, anchor) for name, tier in plan.tiers.items()}
    return {**groups, "plan": _whole(plan)}


def plan_of_values(plan: Plan, values: Mapping[str, Any]) -> Plan:
    """The plan with the controls' values in place of its own.

    Parameters
    ----------
    plan : Plan
        Everything that no control stands for is kept from it.
    values : mapping
        By a control's name; absent ones keep the plan's value.

    Raises
    ------
    InputError
        The values make no design; the message says which and why.
    """
    stands = {one.name: one.value for group in controls(plan).values() for one in group}
    moved = {name: value for name, value in values.items() if name in stands and value not in (None, stands[name])}
    tiers = {name: _moved(name, tier, moved) for name, tier in plan.tiers.items()}
    slo = plan.slo
    for key, field, scale in _SLO:
        if key in moved:
            slo = replace(slo, **{field: float(moved[key]) * scale or None})
    drift, fairness = plan.drift, plan.fairness
    if "plan.retrain_days" in moved:
        drift = replace(drift, retrain_days=float(moved["plan.retrain_days"]))
    if fairness is not None and "plan.gap_pct" in moved:
        fairness = replace(fairness, max_gap=float(moved["plan.gap_pct"]) / 100)
    headroom = float(moved["plan.headroom_pct"]) / 100 if "plan.headroom_pct" in moved else plan.headroom
    return replace(plan, tiers=_split(tiers, moved), slo=slo, drift=drift, fairness=fairness, headroom=headroom)


def _moved(name: str, tier: Tier, moved: Mapping[str, Any]) -> Tier:
    """A tier with its controls' values."""
    known = {field.name: getattr(tier, field.name) for field in fields(tier)}
    changes = {
        field: _as(value, known[field])
        for key, value in moved.items()
        if key.startswith(f"{name}.") and (field := key.partition(".")[2]) in known
    }
    return replace(tier, **changes) if changes else tier


def _split(tiers: Mapping[str, Tier], moved: Mapping[str, Any]) -> dict[str, Tier]:
    """Shares of the traffic: what the others do not take is the first tier's."""
    told = {name: float(moved[f"{name}.share_pct"]) / 100 for name in tiers if f"{name}.share_pct" in moved}
    anchor = next(iter(tiers))
    if not told:
        return dict(tiers)
    shares = {name: told.get(name, tier.share) for name, tier in tiers.items() if name != anchor}
    rest = 1.0 - sum(shares.values())
    if rest < -1e-9:
        raise InputError("the other tiers get more than 100% of the traffic; lower one of their shares")
    shares[anchor] = max(rest, 0.0)
    return {name: replace(tier, share=shares[name]) for name, tier in tiers.items()}


_SLO: Final = (
    ("slo.e2e_p99_ms", "e2e_p99_s", 1e-3),
    ("slo.ttft_p99_ms", "ttft_p99_s", 1e-3),
    ("slo.tpot_p99_ms", "tpot_p99_s", 1e-3),
    ("slo.usd_per_1k", "usd_per_request", 1e-3),
    ("slo.requests_per_s", "requests_per_s", 1.0),
    ("slo.availability_pct", "availability", 1e-2),
    ("slo.min_quality_pct", "min_quality", 1e-2),
    ("slo.max_power_kw", "max_power_w", 1e3),
)
"""Controls of the promises: name, field, and what one unit of the control is in SI. 0 promises nothing."""


def _tier(name: str, tier: Tier, anchor: str) -> tuple[Control, ...]:
    devices = tuple(find.devices())
    share = (
        ()
        if name == anchor  # it gets what the others do not take
        else (
            Control(
                name=f"{name}.share_pct", label="Share of the traffic [%]", kind="number",
                value=_tidy(100 * tier.share), least=0.0, most=100.0, step=0.1, first=False,
            ),
        )
    )  # fmt: skip
    if isinstance(tier, MicroTier):
        return (
            _choice(name, "device", "Device", tier.device, devices),
            Control(
                name=f"{name}.params", label="Weights of the trigger network", kind="number", value=tier.params,
                least=1e3, most=1e9, step=1e3,
            ),
            _choice(name, "weights", "Number format of the weights", tier.weights, _formats(tier.weights)),
            Control(
                name=f"{name}.activation_bytes", label="Peak of the activations [byte]", kind="number",
                value=tier.activation_bytes, least=0.0, most=1e9, step=1024.0, first=False,
            ),
            _count(name, "replicas", "Microcontrollers", tier.replicas, 10_000_000, first=False),
            *share,
        )  # fmt: skip
    common = (
        _choice(name, "model", "Model", tier.model, tuple(find.models())),
        _choice(name, "device", "Device", tier.device, devices),
    )
    fleet = (
        Control(
            name=f"{name}.replicas", label="Replicas", kind="slider", value=tier.replicas, least=1,
            most=max(SEED_GPUS, tier.replicas),
        )
        if name == "cloud"
        else _count(name, "replicas", "Devices of this tier" if tier.tp == 1 else "Replicas", tier.replicas, 10_000_000)
    )  # fmt: skip
    return (
        fleet,
        *common,
        _choice(name, "weights", "Number format of the weights", tier.weights, _formats(tier.weights)),
        Control(
            name=f"{name}.scheduler", label="Serving strategy", kind="choice", value=tier.scheduler, options=SCHEDULERS
        ),
        _count(name, "output_tokens", "Tokens of an answer", tier.output_tokens, 100_000),
        _count(name, "prompt_tokens", "Tokens of a prompt", tier.prompt_tokens, 1_000_000, first=False),
        _count(name, "batch", "Requests at once on a replica", tier.batch, 4096, first=False),
        _choice(name, "kv", "Number format of the KV cache", tier.kv, _formats(tier.kv), first=False),
        Control(
            name=f"{name}.tp", label="Devices of a replica (tensor parallel)", kind="choice", value=str(tier.tp),
            options=tuple(dict.fromkeys((*"1248", "16", str(tier.tp)))), first=False,
        ),
        _count(name, "draft_tokens", "Drafted tokens (speculation; 0 is none)", tier.draft_tokens, 64, 0, first=False),
        *share,
    )  # fmt: skip


def _whole(plan: Plan) -> tuple[Control, ...]:
    gap = plan.fairness
    days = plan.drift.retrain_days
    return (
        Control(
            name="plan.retrain_days", label="Days between retrainings", kind="slider", value=_tidy(days), least=1,
            most=max(90, days),
        ),
        *(
            ()
            if gap is None
            else (
                Control(
                    name="plan.gap_pct", label="Allowed gap between groups [%]", kind="slider",
                    value=_tidy(100 * gap.max_gap), least=0, most=max(20, 100 * gap.max_gap),
                ),
            )
        ),
        _promise(plan, "slo.e2e_p99_ms", "Whole answer, P99 [ms]", 1e7, 1.0, first=True),
        _promise(plan, "slo.usd_per_1k", "Cost of 1,000 requests [USD]", 1e6, 0.01, first=True),
        _promise(plan, "slo.requests_per_s", "Requests [1/s]", 1e7, 1.0, first=True),
        _promise(plan, "slo.availability_pct", "Availability [%]", 99.999999, 0.001, first=True),
        _promise(plan, "slo.ttft_p99_ms", "First token, P99 [ms]; 0 promises nothing", 1e7, 1.0),
        _promise(plan, "slo.tpot_p99_ms", "Each further token, P99 [ms]; 0 promises nothing", 1e7, 0.1),
        _promise(plan, "slo.min_quality_pct", "Quality [%]; 0 promises nothing", 100.0, 0.1),
        _promise(plan, "slo.max_power_kw", "Power [kW]; 0 promises nothing", 1e6, 0.1),
        Control(
            name="plan.headroom_pct", label="Headroom above the demand [%]", kind="number",
            value=_tidy(100 * plan.headroom), least=0.0, most=900.0, first=False,
        ),
    )  # fmt: skip


def _promise(plan: Plan, name: str, label: str, most: float, step: float, *, first: bool = False) -> Control:
    field, scale = next((field, scale) for key, field, scale in _SLO if key == name)
    at = getattr(plan.slo, field)
    return Control(
        name=name, label=label, kind="number", value=0.0 if at is None else _tidy(at / scale), least=0.0, most=most,
        step=step, first=first,
    )  # fmt: skip


def _choice(tier: str, field: str, label: str, value: str, options: tuple[str, ...], *, first: bool = True) -> Control:
    kept = options if value in options else (value, *options)
    return Control(name=f"{tier}.{field}", label=label, kind="choice", value=value, options=kept, first=first)


def _count(tier: str, field: str, label: str, value: int, most: int, least: int = 1, *, first: bool = True) -> Control:
    return Control(name=f"{tier}.{field}", label=label, kind="count", value=value, least=least, most=most, first=first)


def _formats(own: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*FORMATS, own, *find.precisions())))


def _as(value: Any, like: Any) -> Any:
    """A control's value as the plan's field has it."""
    if isinstance(like, bool):
        return bool(value)
    if isinstance(like, int):
        return int(value)
    return float(value) if isinstance(like, float) else value


def _tidy(value: float) -> float:
    """Without the dust of a change of units: 99.9 and not 99.90000000000001."""
    return float(f"{value:.10g}")
