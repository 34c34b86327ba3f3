"""A tier of microcontrollers: flash and SRAM apart, and the time of one inference."""

from __future__ import annotations

from reckoner.audit.figures import Figure, Figures
from reckoner.audit.plan import MicroTier, device_of
from reckoner.audit.verdict import Verdict, at_least, at_most
from reckoner.catalogue import find
from reckoner.design import Slo
from reckoner.errors import MissingFigureError
from reckoner.physics.tinyml import flash_headroom_bytes, sram_headroom_bytes, weight_bytes

SLOWER = (2.50, 5.14, 9.85)
"""How many times longer than at the printed peak an inference takes: 5th, 50th and 95th percentile of 117 measurements
of int8 and float networks on Cortex-M boards (MLPerf Tiny, in ``validation/nn_items.csv.gz``; counted 2026-11-21)."""


def figures_of(tier: MicroTier, demand_per_s: float) -> Figures:
    """Bytes, time and rent of a tier."""
    device = device_of(tier.device)
    stored = _stored_bytes(tier)
    flash, sram = device.flash_bytes or 0.0, device.memory_bytes
    figures = {
        "weight_bytes": Figure(stored, stored, stored, "B"),
        "flash_bytes": _exact(flash - float(flash_headroom_bytes(stored, flash, tier.code_bytes)), "B"),
        "sram_bytes": _exact(sram - float(sram_headroom_bytes(tier.activation_bytes, sram, tier.runtime_bytes)), "B"),
        "usd_per_hour": Figure((tier.usd_per_hour or 0.0) * tier.replicas, None, None, "USD/h"),
    }
    seconds = inference_s(tier)
    if seconds is not None:
        low, middle, high = (seconds * factor for factor in SLOWER)
        figures["e2e_p99_s"] = Figure(middle, low, high, "s")
        figures["capacity_per_s"] = Figure(tier.replicas / middle, tier.replicas / high, tier.replicas / low, "1/s")
        figures["utilisation"] = Figure(demand_per_s * middle / tier.replicas, None, None, "")
    if demand_per_s:
        usd = (tier.usd_per_hour or 0.0) * tier.replicas / 3600.0 / demand_per_s
        figures["usd_per_request"] = Figure(usd, None, None, "USD")
    return figures


def inference_s(tier: MicroTier) -> float | None:
    """Time of one inference at the printed limits: operations over the peak, or weights over the bandwidth, in s.

    None where the device states no peak that suits.
    """
    device = device_of(tier.device)
    try:
        _, peak = device.first_peak(("int8", "fp16", "fp32"))
    except MissingFigureError:
        return None
    macs = tier.params if tier.macs is None else tier.macs
    stored = _stored_bytes(tier)
    return max(2.0 * macs / peak, stored / device.bandwidth_bytes_per_s)


def judge(
    name: str, tier: MicroTier, figures: Figures, demand_per_s: float, headroom: float, slo: Slo
) -> list[Verdict]:
    """Hold a tier's figures against flash, SRAM and the promises."""
    device = device_of(tier.device)
    verdicts = []
    for what, limit, fix in (
        ("flash_bytes", device.flash_bytes or 0.0, "fewer weights or bits, or a device with more flash"),
        ("sram_bytes", device.memory_bytes, "smaller activations, or a device with more SRAM"),
    ):
        value = figures[what].value
        assert value is not None  # bytes are always counted
        holds = at_most(value, limit)
        verdicts.append(
            Verdict(
                name=what, tier=name, holds=holds, limit=limit, value=value, low=value, high=value, unit="B",
                binding="weights" if what == "flash_bytes" else "activations",
                fix="" if holds else f"{value - limit:,.0f} bytes too many: {fix}",
            )
        )  # fmt: skip
    promises = [("requests_per_s", demand_per_s * (1.0 + headroom), False)]
    if slo.e2e_p99_s is not None:
        promises.insert(0, ("e2e_p99_s", slo.e2e_p99_s, True))
    for promise, limit, ceiling in promises:
        at = figures.get("e2e_p99_s" if ceiling else "capacity_per_s", Figure(None, None, None, "s"))
        holds = at_most(at.value, limit) if ceiling else at_least(at.value, limit)
        verdicts.append(
            Verdict(
                name=promise, tier=name, holds=holds, limit=limit, value=at.value, low=at.low, high=at.high,
                unit="s" if ceiling else "1/s", at_least=not ceiling, binding="compute",
                fix=_fix(holds, ceiling),
            )
        )  # fmt: skip
    return verdicts


def _fix(holds: bool | None, ceiling: bool) -> str:
    if holds:
        return ""
    if holds is None:
        return "the device states no peak; take one that does"
    return "a smaller network or a faster device" if ceiling else "more devices, or a smaller network"


def _exact(value: float, unit: str) -> Figure:
    return Figure(value, value, value, unit)


def _stored_bytes(tier: MicroTier) -> float:
    weights = find.precision(tier.weights)
    return float(weight_bytes(tier.params, weights.bits, weights.overhead_bytes))
