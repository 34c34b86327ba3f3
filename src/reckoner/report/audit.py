"""An audit in words, tables and one page: the same verdicts on the command line, in Markdown and in the browser."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reckoner.audit.advise import Advice, Option
from reckoner.audit.plan import Plan, ServedTier
from reckoner.audit.run import Audit
from reckoner.audit.verdict import Verdict
from reckoner.report.chart import Chart, Series, table_of
from reckoner.report.page import Section, page
from reckoner.report.tables import Table, number, to_markdown
from reckoner.units import show

ICONS = {True: "✔", False: "✘", None: "?"}
TITLES = {
    "memory_bytes": "memory",
    "flash_bytes": "flash",
    "sram_bytes": "SRAM",
    "ttft_p99_s": "TTFT P99",
    "tpot_p99_s": "TPOT P99",
    "e2e_p99_s": "E2E P99",
    "requests_per_s": "capacity",
    "usd_per_request": "cost per request",
    "availability": "availability",
    "max_power_w": "power",
    "min_quality": "quality",
    "quality_after_drift": "quality after drift",
    "psi": "drift (PSI)",
    "fairness_gap": "fairness gap",
}
"""Words for what is promised."""

TONES = {"cloud": 0, "edge": 1, "mobile": 2, "tinyml": 3}
"""Colour, dash and symbol of each tier, the same in every figure."""


def verdict_words(verdict: Verdict) -> str:
    """Icon and word of a verdict.

    >>> verdict_words(Verdict(name="psi", tier="", holds=None, limit=0.25, value=None, unit=""))
    '? unknown'
    """
    return f"{ICONS[verdict.holds]} {verdict.word}"


def figure_words(value: float | None, unit: str) -> str:
    """Write a figure with its unit; words where there is none.

    >>> figure_words(0.1, "s"), figure_words(None, "s"), figure_words(math.inf, "s"), figure_words(0.999, "")
    ('100 ms', 'unknown', 'without end', '0.999')
    """
    if value is None:
        return "unknown"
    if math.isinf(value):
        return "without end"
    if unit == "USD":
        # a request costs millionths: as many decimals as it takes, for a power of ten is easily overlooked
        tiny = 0.0 < value < 1e-5
        return f"${value:.{2 - math.floor(math.log10(value))}f}" if tiny else f"${number(value, 3)}"
    if unit == "1/s":
        return f"{value:,.0f}/s" if value >= 1000.0 else f"{value:.3g}/s"
    return show(value, unit, 3) if unit in ("s", "B", "W", "J") else f"{value:.4g}"


def headline(audit: Audit) -> str:
    """Say in a sentence how it ended."""
    failed, unknown = len(audit.failed), len(audit.unknown)
    n = len(audit.verdicts)
    if audit.feasible:
        return f"{audit.plan.name}: all {n} promises are kept"
    parts = [f"{failed} of {n} promises fail"] if failed else [f"none of {n} promises fails"]
    if unknown:
        parts.append(f"{unknown} cannot be judged")
    return f"{audit.plan.name}: {', and '.join(parts)}"


def verdict_table(audit: Audit) -> Table:
    """Every verdict with limit, value, interval and what to do."""
    rows = [
        (
            verdict_words(v),
            v.tier or "all",
            TITLES[v.name],
            ("at least " if v.at_least else "at most ") + figure_words(v.limit, v.unit),
            figure_words(v.value, v.unit),
            interval_words(v),
            "" if v.margin is None or math.isinf(v.margin) else f"{100 * v.margin:.0f} %",
            v.binding,
            v.fix,
        )
        for v in audit.verdicts
    ]
    headers = ("Verdict", "Tier", "Promise", "Limit", "Value", "90 % interval", "Margin", "Binds", "What to do")
    return Table(headers=headers, rows=tuple(rows))


def interval_words(verdict: Verdict) -> str:
    """Ends of a verdict's interval; empty where it has none."""
    if verdict.low is None or verdict.high is None or verdict.low == verdict.high:
        return ""
    return f"{figure_words(verdict.low, verdict.unit)} to {figure_words(verdict.high, verdict.unit)}"


def unsure(audit: Audit) -> str:
    """Say which verdicts could turn within their intervals; empty where none could."""
    names = [f"{v.tier or 'all'} {TITLES[v.name]}" for v in audit.verdicts if v.sure is False]
    return f"Within their 90 % intervals these could turn: {', '.join(names)}." if names else ""


def plan_table(plan: Plan) -> Table:
    """One row a tier."""
    rows = []
    for name, tier in plan.tiers.items():
        if isinstance(tier, ServedTier):
            what = f"{tier.model} in {tier.weights}, {tier.prompt_tokens} tokens in, {tier.output_tokens} out"
            where = (
                f"{tier.replicas:,} x {tier.tp} {tier.device}" if tier.tp > 1 else f"{tier.replicas:,} {tier.device}"
            )
        else:
            what = f"{tier.params:,.0f} weights in {tier.weights}"
            where = f"{tier.replicas:,} {tier.device}"
        rows.append((name, f"{100 * tier.share:g} %", what, where))
    return Table(headers=("Tier", "Traffic", "What", "Where"), rows=tuple(rows))


def invariant_table(audit: Audit) -> Table:
    """The seven laws with this plan's figures."""
    return Table(
        headers=("Invariant", "Tier", "Law", "Here"),
        rows=tuple((i.name, i.tier or "all", i.law, i.says) for i in audit.invariants),
    )


def missing(audit: Audit) -> list[str]:
    """List what the plan leaves open, so that nobody takes silence for a pass."""
    found = [f"{v.tier + ': ' if v.tier else ''}{TITLES[v.name]} - {v.fix}" for v in audit.unknown]
    slo = audit.plan.slo
    found += [
        f"slo.{name} - nothing is promised"
        for name in slo.__slots__
        if getattr(slo, name) is None and name != "requests_per_s"
    ]
    if audit.plan.fairness is None:
        found.append("fairness - no decision about people is stated")
    if audit.figures[""]["quality"].value is None and slo.min_quality is None:
        found.append("quality - the models' answers were not graded")
    if audit.plan.drift.loss_per_psi is None:
        found.append("drift.loss_per_psi - what drift costs in accuracy was not measured")
    return found


def latency_map(audit: Audit) -> Chart | None:
    """Memory against latency of each tier, with memory budgets and the zone that was promised; None of nothing served.

    A tier whose queue grows without end stands above all others, and its name says so.
    """
    found = {name: (_memory(audit, name), audit.figures[name].get("e2e_p99_s")) for name in audit.plan.tiers}
    shown = {name: (at, late) for name, (at, late) in found.items() if at and late and late.value}
    slo = audit.plan.slo
    ends = [late.value for _, late in shown.values() if late.value is not None and math.isfinite(late.value)]
    ends += [] if slo.e2e_p99_s is None else [slo.e2e_p99_s]
    if not shown or not ends:
        return None
    top, bottom = 8.0 * max(ends), 0.4 * min(ends)
    tiers, budgets, rows = [], [], []
    for name, (at, late) in shown.items():
        assert late.value is not None  # it is shown
        endless = math.isinf(late.value)
        known = not endless and late.low is not None and late.high is not None
        tiers.append(
            Series(
                name=f"{name}, queue without end" if endless else name, x=(at / 1e9,),
                y=(top if endless else late.value,), style="dots", tone=TONES[name],
                low=(max(late.low or bottom, bottom),) if known else None,
                high=(min(late.high or top, top),) if known else None,
            )
        )  # fmt: skip
        limit = next(v.limit for v in audit.verdicts if v.tier == name and v.unit == "B")
        budgets.append(
            Series(
                name=f"{name} has {show(limit, 'B', 3)}", x=(limit / 1e9, limit / 1e9), y=(bottom, 2.0 * top),
                style="dotted", tone=TONES[name],
            )
        )  # fmt: skip
        rows.append((name, show(at, "B", 3), show(limit, "B", 3), figure_words(late.value, "s")))
    left_out = [name for name in audit.plan.tiers if name not in shown]
    said = f" Not shown, for it does not fit: {', '.join(left_out)}." if left_out else ""
    return Chart(
        name="memory-latency",
        title="Memory and latency of each tier",
        x_title="memory [GB]",
        y_title="E2E P99 [s]",
        series=(*tiers, *budgets),
        caption="A tier is sound left of its own dotted memory budget and inside the promised zone; for "
        f"microcontrollers the memory is flash.{said}",
        table=Table(headers=("Tier", "Needs", "Has", "E2E P99"), rows=tuple(rows)),
        log_x=True,
        log_y=True,
        y_range=(bottom, 2.0 * top),
        zones=() if slo.e2e_p99_s is None else ((bottom, slo.e2e_p99_s, f"promised: {show(slo.e2e_p99_s, 's', 3)}"),),
    )


def _memory(audit: Audit, name: str) -> float | None:
    figures = audit.figures[name]
    found = figures.get("memory_bytes", figures.get("flash_bytes"))
    return None if found is None else found.value


def option_lines(option: Option) -> list[str]:
    """Moves of an option, one line each."""
    return [str(move) for move in option.moves]


def option_table(options: Sequence[Option]) -> Table:
    """Alternatives side by side."""
    rows = []
    for option in options:
        usd = option.usd_per_request if math.isfinite(option.usd_per_request) else None
        rows.append(
            (
                len(option.moves), figure_words(usd, "USD"), f"{100 * option.tightest:.0f} %",
                "unknown" if option.quality is None else f"{option.quality:.3f}",
                show(option.served_params, "", 3).strip(), "; ".join(option_lines(option)),
            )
        )  # fmt: skip
    headers = ("Moves", "Cost per request", "Latency of its limit", "Quality", "Weights served", "What changes")
    return Table(headers=headers, rows=tuple(rows))


def pareto_chart(options: Sequence[Option]) -> Chart | None:
    """Cost against latency of the alternatives that pass; None of fewer than two."""
    known = [o for o in options if math.isfinite(o.usd_per_request) and o.usd_per_request > 0.0]
    if len(known) < 2:
        return None
    best, *others = known
    series = [
        Series(name=name, x=tuple(o.usd_per_request for o in group), y=tuple(o.tightest for o in group), style="dots")
        for name, group in (("fewest moves", [best]), ("other designs", others))
    ]
    return Chart(
        name="alternatives",
        title="Designs that pass",
        x_title="cost per request [USD]",
        y_title="largest P99 over its limit",
        series=tuple(series),
        caption="Each passes every promise; none is beaten in cost, latency and quality at once.",
        table=table_of("USD per request", series),
        log_x=True,
    )


def markdown(audit: Audit, advice: Advice | None = None, *, extra: Sequence[Section] = ()) -> str:
    """Write the audit as Markdown; ``extra`` sections of paragraphs and tables stand before what is left open."""
    parts = [f"# Audit: {audit.plan.name}", f"{headline(audit)}.", "## Plan", to_markdown(plan_table(audit.plan))]
    parts += ["## Verdicts", to_markdown(verdict_table(audit)), *filter(None, [unsure(audit)])]
    if advice is not None:
        parts += ["## Advice", *_advice_parts(advice)]
    parts += ["## Seven invariants", to_markdown(invariant_table(audit))]
    for section in extra:
        parts += [f"## {section.title}"]
        parts += [to_markdown(part) if isinstance(part, Table) else str(part) for part in section.parts]
    parts += ["## Left open", "\n".join(f"- {line}" for line in missing(audit)) or "Nothing."]
    return "\n\n".join(parts) + "\n"


def _advice_parts(advice: Advice) -> list[str]:
    parts = [advice_sentence(advice)]
    chosen = advice.best or advice.nearest
    if chosen is not None and chosen.moves:
        parts.append("\n".join(f"{i}. {line}" for i, line in enumerate(option_lines(chosen), 1)))
    if advice.because:
        parts.append("\n".join(f"- {line}" for line in advice.because))
    if len(advice.alternatives) > 1:
        parts.append(to_markdown(option_table(advice.alternatives)))
    return parts


def advice_sentence(advice: Advice) -> str:
    """Say in a sentence what the search found."""
    looked = f"{advice.looked_at:,} designs looked at, {advice.simulated:,} simulated"
    if advice.best is None:
        return f"No design passes ({looked}). The nearest differs as follows and still fails; the reasons stand below."
    if not advice.best.moves:
        return "Nothing needs to change."
    n = len(advice.best.moves)
    return f"{n} move{'s' if n > 1 else ''} make it pass, audited again ({looked})."


def audit_page(
    audit: Audit, advice: Advice | None = None, *, manifest: Mapping[str, Any], extra: Sequence[Section] = ()
) -> str:
    """Write the audit as one HTML text that opens offline; ``extra`` sections stand before what is left open.

    Raises
    ------
    MissingExtraError
        plotly is not installed.
    """
    pictures = [latency_map(audit)]
    sections = [
        Section(title="Verdicts", parts=(f"**{headline(audit)}.** {unsure(audit)}", verdict_table(audit))),
        Section(title="Plan", parts=(plan_table(audit.plan), *(p for p in pictures if p is not None))),
    ]
    if advice is not None:
        parts: list[Any] = [advice_sentence(advice)]
        chosen = advice.best or advice.nearest
        if chosen is not None and chosen.moves:
            rows = tuple((m.tier or "all", m.field.replace("_", " "), str(m.old), str(m.new)) for m in chosen.moves)
            parts.append(Table(headers=("Tier", "What", "From", "To"), rows=rows))
        parts += list(advice.because)
        if len(advice.alternatives) > 1:
            parts.append(option_table(advice.alternatives))
            picture = pareto_chart(advice.alternatives)
            parts += [] if picture is None else [picture]
        sections.append(Section(title="Advice", parts=tuple(parts)))
    sections.append(Section(title="Seven invariants", parts=(invariant_table(audit),)))
    sections += extra
    sections.append(Section(title="Left open", parts=tuple(missing(audit)) or ("Nothing.",)))
    return page(f"Audit: {audit.plan.name}", f"{headline(audit)}.", sections, manifest=manifest)
