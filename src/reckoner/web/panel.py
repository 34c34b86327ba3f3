"""The live panel of the Audit page: every promise of every tier, what breaks it, and where the tiers stand."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reckoner.audit.advise import Advice, Option
from reckoner.audit.figures import Figure
from reckoner.audit.plan import MicroTier
from reckoner.audit.repair import Repair, repair
from reckoner.audit.run import Audit
from reckoner.audit.verdict import Verdict
from reckoner.report.audit import (
    TITLES,
    advice_sentence,
    figure_words,
    headline,
    interval_words,
    invariant_table,
    latency_map,
    missing,
    option_table,
    pareto_chart,
    plan_table,
    unsure,
    verdict_table,
)
from reckoner.report.svg import to_figure
from reckoner.report.tables import Table, to_html
from reckoner.web.design import TITLES as TIERS
from reckoner.web.views import WORDS, Part, block, judged, note, verdict

BROKEN: Final = '<div class="rk"><h2>Broken promises, and what repairs them</h2></div>'
_TOLD: Final = (
    ("usd_per_request", "cost per request"),
    ("capacity_per_s", "capacity"),
    ("utilisation", "utilisation"),
    ("j_per_request", "energy per request"),
    ("power_w", "power"),
    ("quality", "quality"),
    ("accuracy_lost", "accuracy lost to drift"),
)
"""Figures that stand in a card although nothing may be promised about them."""


def panel(audit: Audit) -> str:
    """The verdict, a card for each tier and one for the whole, and the full table folded away."""
    word = WORDS[audit.feasible]
    text = {"pass": "feasible", "fail": "infeasible", "unknown": "not known to be feasible"}[word]
    cards = "".join(_card(audit, name) for name in (*audit.plan.tiers, ""))
    unsteady = unsure(audit)
    table = to_html(verdict_table(audit), "Every verdict")
    return (
        f'<section class="rk" aria-label="Physics check"><h2>Physics check</h2>'
        f'<p role="status">{verdict(word, text)} {html.escape(headline(audit))}.</p>'
        f'<ul class="cards">{cards}</ul>'
        f"{f'<p>{html.escape(unsteady)}</p>' if unsteady else ''}"
        f"<details><summary>Every verdict with its limit, interval, margin and binding term</summary>{table}</details>"
        f"<details><summary>The seven invariants in this design</summary>{to_html(invariant_table(audit))}</details>"
        f"<details><summary>The plan</summary>{to_html(plan_table(audit.plan))}</details></section>"
    )


def _card(audit: Audit, name: str) -> str:
    tier = audit.plan.tiers.get(name)
    where = "" if tier is None else f"{tier.replicas:,} × {tier.device}, {tier.weights}"
    if isinstance(tier, MicroTier):
        where += f", {tier.params:,.0f} weights"
    elif tier is not None:
        where += f", {tier.model}"
    lines = [_line(v) for v in audit.verdicts if v.tier == name]
    judged = {v.name for v in audit.verdicts if v.tier == name}
    judged |= {"capacity_per_s"} if "requests_per_s" in judged else set()
    figures = audit.figures[name]
    lines += [
        f"<p>{html.escape(says)}: <strong>{_value(figures[key])}</strong>{_ends(figures[key])}</p>"
        for key, says in _TOLD
        if key in figures and key not in judged
    ]
    title = TIERS.get(name, "Whole system")
    quiet = f'<p class="quiet">{html.escape(where)}</p>' if where else ""
    wide = "" if name else " whole"
    return f'<li class="card{wide}"><h3>{html.escape(title)}</h3>{quiet}{"".join(lines)}</li>'


def _line(v: Verdict) -> str:
    ends = interval_words(v)
    sign = "≥" if v.at_least else "≤"
    return (
        f"<p>{verdict(WORDS[v.holds])} {html.escape(TITLES[v.name])}: "
        f"<strong>{html.escape(figure_words(v.value, v.unit))}</strong>"
        f"{f' <span class=quiet>[{html.escape(ends)}]</span>' if ends else ''} "
        f"<span class=quiet>{sign} {html.escape(figure_words(v.limit, v.unit))}</span></p>"
    )


def _value(figure: Figure) -> str:
    return html.escape(figure_words(figure.value, figure.unit))


def _ends(figure: Figure) -> str:
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return ""
    low, high = (figure_words(end, figure.unit) for end in (figure.low, figure.high))
    return f" <span class=quiet>[{low} to {high}]</span>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Banner:
    """A broken or open promise with the change that keeps it.

    Attributes
    ----------
    text : str
        The promise, the figure, and the fix in words.
    button : str
        What the button does; empty where only a person can do it.
    made : Repair or None
        The change by arithmetic.
    tier : str
        The tier that a search must be made in; empty where there is nothing to search.
    """

    verdict: Verdict
    text: str
    button: str = ""
    made: Repair | None = None
    tier: str = ""


def banners(audit: Audit) -> tuple[Banner, ...]:
    """A banner for each promise that is not kept; a tier is offered a search once."""
    found, searched = [], set()
    for v in (*audit.failed, *audit.unknown):
        place = TIERS.get(v.tier, "Whole system")
        bound = "at least" if v.at_least else "at most"
        text = (
            f"**{place}, {TITLES[v.name]}:** {figure_words(v.value, v.unit)}, where {bound} "
            f"{figure_words(v.limit, v.unit)} is promised. {v.fix[:1].upper()}{v.fix[1:]}."
        )
        made = repair(audit, v) if v.holds is False else None
        if made is not None:
            found.append(Banner(verdict=v, text=text, button=f"Fix: {made.says}", made=made))
        elif v.tier and v.tier not in searched:
            searched.add(v.tier)
            button = f"Fix: find the fewest changes that repair the {v.tier} tier"
            found.append(Banner(verdict=v, text=text, button=button, tier=v.tier))
        else:
            found.append(Banner(verdict=v, text=text))
    return tuple(found)


def banner(one: Banner) -> str:
    """One banner."""
    return judged(one.text, WORDS[one.verdict.holds])


def all_kept(audit: Audit) -> str:
    """What stands where nothing is broken."""
    return judged(f"**Feasible.** {headline(audit)}: nothing failed, and nothing is unknown.", "pass")


def tier_map(audit: Audit) -> str:
    """The four-tier map of memory and latency."""
    chart = latency_map(audit)
    if chart is None:
        return note("No tier can be placed: none fits into its memory, or nothing answers.", "unknown")
    return (
        f'<section class="rk" aria-label="Map of the tiers"><h2>Where the tiers stand</h2>{to_figure(chart)}</section>'
    )


def advised(advice: Advice) -> str:
    """What the search found, with the alternatives as table and picture."""
    parts: list[Part] = [advice_sentence(advice)]
    chosen = advice.best or advice.nearest
    if chosen is not None and chosen.moves:
        parts.append(moves_table(chosen))
    parts += [f"Because {line}." for line in advice.because]
    if len(advice.alternatives) > 1:
        picture = pareto_chart(advice.alternatives)
        parts += [option_table(advice.alternatives), *(() if picture is None else (picture,))]
    return block(parts, title="Advice")


def moves_table(option: Option) -> Table:
    """Moves of an option, one a row."""
    rows = []
    for move in option.moves:
        words, _, new = str(move).rpartition(" -> ")
        what, _, old = words.rpartition(" ")
        rows.append((TIERS.get(move.tier, "Whole system"), what.partition(": ")[2] or what, old, new))
    return Table(headers=("Tier", "What", "From", "To"), rows=tuple(rows))


def open_ends(audit: Audit, lesson: Sequence[str]) -> str:
    """Everything that is not filled in, for the download."""
    lines = [*lesson, *missing(audit)]
    if not lines:
        return note("Nothing is left open.", "pass")
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    told = f"{len(lines)} fields are incomplete; the download lists them"
    return f'<div class="rk"><details><summary>{told}</summary><ul>{items}</ul></details></div>'
