"""What the Audit page says around the design: questions, locks, report card, reveals, equations, HUD."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any, Final

from reckoner.audit import lesson
from reckoner.audit.lesson import CHAPTER, Locked, Question, Reveal
from reckoner.audit.report_card import LABS, ReportCard, designs
from reckoner.audit.run import Audit
from reckoner.errors import ReckonerError
from reckoner.ledger import Ledger
from reckoner.ledger.ledger import Kept
from reckoner.report.audit import TITLES, figure_words
from reckoner.report.forecast_text import SCORE_COLUMNS, score_rows
from reckoner.report.radar import practice_radar, practice_table
from reckoner.report.tables import Table, inline
from reckoner.web.views import WORDS, block, note, verdict
from reckoner.web.visit import Visit

ACT_1_INTRO: Final = (
    "**The chief architect asks.** Before anybody lets you near the new deployment: which physical law does your "
    "intuition get wrong? Commit to an answer and to a number. Only then will your own record answer.\n\n"
    "What you lock is written into the ledger before anything is shown. Nothing takes it back: not a reload, not "
    "another tab, not a message to the server."
)
ACT_2_INTRO: Final = (
    "**The brief.** A language model of 7 billion weights, over four tiers: cloud as the anchor, boxes at the edge, "
    "phones, and a trigger on microcontrollers. Promised are a P99 below 100 ms for a whole answer, less than $0.001 a "
    "request, 1,000 requests a second, and 99.9% availability.\n\n"
    "As it stands the design breaks promises. Find out which, why, and what the smallest change is. First predict "
    "where it hurts most."
)
EQUATIONS: Final = (
    ("Iron law", "T = max(bytes / bandwidth, operations / rate) + overhead", "Time goes where the bytes go."),
    (
        "Memory wall",
        "memory = weights + 2 L H_kv d_head S B bytes; decode reads it all for each token",
        "The KV cache has a format of its own; shrinking the weights does not shrink it.",
    ),
    ("Amdahl", "speedup(N) = 1 / (s + (1 - s) / N)", "A serial share of 5% stops at 20, whatever N is."),
    (
        "Roofline",
        "FLOP/s = min(peak, intensity x bandwidth)",
        "Decode at batch 1 does about one operation a byte: far left of the ridge.",
    ),
    (
        "Little",
        "L = lambda W",
        "L counts everybody inside, those being served as well; the queue alone is lambda W_q.",
    ),
    (
        "Degradation",
        "A(t) = A0 - lambda PSI(t), PSI = sum (q - p) ln(q / p)",
        "The loss is per unit of PSI; how fast PSI grows with the days is a property of the traffic.",
    ),
    (
        "Fairness",
        "FPR = p / (1 - p) x (1 - PPV) / PPV x (1 - FNR)",
        "With unequal base rates p, equal PPV and equal FNR force unequal FPR (Chouldechova 2017); with calibration "
        "the same follows for the classes' balance (Kleinberg et al. 2016).",
    ),
)
TAKE_AWAYS: Final = (
    "A tier's limits are physics and not settings: bytes of flash, watts of a phone, seconds of a memory bus. Learn "
    "which constraints can be negotiated and which are walls before you move a slider.",
    "All seven laws hold at once. What relieves one promise loads another: bits buy time and cost quality, replicas "
    "buy availability and cost money, short answers buy latency and cost usefulness.",
    "An unmeasured quality is unknown and never 100%. A design is feasible when nothing failed and nothing is unknown.",
)


def equations() -> str:
    """The seven laws, folded away."""
    table = Table(headers=("Law", "Equation", "Mind"), rows=EQUATIONS)
    return (
        f'<details class="rk"><summary>The seven invariants: governing equations</summary>{block((table,))}</details>'
    )


def lock(visit: Visit, question: Question, choice: str | None, figure: float | None) -> str:
    """Lock a person's prediction; returns why it could not be locked, empty where it was."""
    if choice is None or figure is None:
        return "Choose an option and give a number before you lock."
    try:
        with visit.ledger() as ledger:
            lesson.lock(ledger, visit.person, question, choice, float(figure))
    except ReckonerError as error:
        return str(error)
    return ""


def locked_words(question: Question, found: Locked) -> str:
    """A prediction that is locked."""
    unit = f" {question.unit}" if question.unit else ""
    return note(
        f"**Locked** as entry `{found.id}`: {question.options[found.choice]}. "
        f"Your number: {found.figure:.4g}{unit}.\n\nIt stands in the ledger before anything was revealed, and stays."
    )


def reveal_words(found: Reveal) -> str:
    """A prediction beside what came of it."""
    word = WORDS[found.right]
    title = {True: "Right", False: "Different", None: "Unknown"}[found.right]
    says = found.says
    for name, words in TITLES.items():
        says = says.replace(name, words)
    off = "" if found.off_by is None else f'<p class="big">off by {found.off_by:.3g} ×</p>'
    return (
        f'<div class="rk" role="status"><div class="note {word}"><p>{verdict(word, title)}</p>'
        f"<p>{inline(says)}</p>{off}</div></div>"
    )


def card(found: ReportCard) -> str:
    """The Mental Model Report Card."""
    done = len(found.done)
    share = "unknown" if found.share_right is None else f"{100 * found.share_right:.0f}%"
    facts = (
        (f"{done} of {len(LABS)}", "labs in the ledger"),
        (share, f"predictions right ({found.right} of {done})"),
        (str(found.hits), "constraints hit"),
        (found.weakest or "unknown", "weakest invariant"),
        (found.favourite or "unknown", "usual context"),
    )
    cards = "".join(
        f'<li class="card"><p class="big">{html.escape(figure)}</p><p class="quiet">{html.escape(name)}</p></li>'
        for figure, name in facts
    )
    contexts = Table(headers=("Context", "Labs"), rows=tuple(found.contexts.items()))
    picture = block((practice_radar(found.practice),))
    numbers = block((practice_table(found.practice), contexts))
    parts: list[Any] = []
    if found.guesses:
        rows = tuple(tuple(row) for row in score_rows(found.guesses))
        parts += ["Your numbers against their outcomes, in this ledger:", Table(headers=SCORE_COLUMNS, rows=rows)]
    else:
        parts += ["None of your own numbers has met its outcome yet; saving an audit brings the first two."]
    few = (
        note(
            "Labs that are not in the ledger are unknown here. `reckoner ledger import ~/.mlsys/ledger.json` brings "
            "them.",
            "unknown",
        )
        if done < len(LABS)
        else ""
    )
    heading = '<section class="rk" aria-label="Mental model report card"><h2>Mental model report card</h2>'
    both = f'<div class="rk pair">{picture}{numbers}</div>'
    return f'{heading}<ul class="cards">{cards}</ul></section>{few}{both}{block(parts)}'


def recommendations(ledger: Ledger) -> str:
    """What earlier labs chose, where they are in the ledger."""
    kept = designs(ledger)
    told = []
    for chapter, field, says in (
        (10, "act2_decision", "Lab 10: you compressed with {}. Which tiers need that here?"),
        (13, "act2_result", "Lab 13: your P99 was {} ms. The promise here is 100 ms."),
        (14, "act2_decision", "Lab 14: you retrained {}. Four tiers drift at once here."),
    ):
        value = kept.get(chapter, {}).get(field)
        if value not in (None, "", "none"):
            told.append(says.format(f"{value:g}" if isinstance(value, (int, float)) else value))
    return block(("**From your earlier labs.** " + " ".join(told),)) if told else ""


def take_aways() -> str:
    """What to keep of it all."""
    items = "".join(f"<li>{html.escape(one)}</li>" for one in TAKE_AWAYS)
    return f'<section class="rk" aria-label="To keep"><h2>To keep</h2><ol>{items}</ol></section>'


def last_saved(ledger: Ledger, person: str) -> Kept | None:
    """The audit that a person saved last; None where there is none."""
    found = None
    for kept in ledger.entries(kind="decision", subject=f"chapter {CHAPTER}"):
        if kept.body["details"].get("person") == person:
            found = kept
    return found


def saved_hud(kept: Kept) -> str:
    """The saved audit in one line of figures."""
    told: Mapping[str, Any] = kept.body["details"]
    right = {True: "right", False: "different", None: "unknown"}
    p99, usd = told.get("p99_latency_ms"), told.get("total_cost_per_req")
    share = told.get("pct_correct")
    facts = (
        ("Saved", str(kept.id)),
        ("Act I", right[told.get("act1_correct")]),
        ("Act II", right[told.get("act2_correct")]),
        ("Labs", f"{told.get('labs_completed', 0)} of {len(LABS)}"),
        ("Predictions right", "unknown" if share is None else f"{share:g}%"),
        ("Weakest", told.get("weakest_invariant") or "unknown"),
        ("Cloud P99", "none" if p99 is None else f"{p99:.3g} ms"),
        ("Cost per request", figure_words(usd, "USD")),
        ("System", str(told.get("act2_result", "unknown"))),
    )
    return hud(facts, label="Saved audit")


def live_hud(audit: Audit, first: Locked | None, second: Locked | None) -> str:
    """The design as it stands in one line of figures."""
    late = audit.figures.get("cloud", {}).get("e2e_p99_s")
    facts = (
        ("Act I", "locked" if first else "open"),
        ("Act II", "locked" if second else "open"),
        ("Cloud P99", "unknown" if late is None else figure_words(late.value, "s")),
        ("Cost per request", figure_words(audit.figures[""]["usd_per_request"].value, "USD")),
        ("Failed", str(len(audit.failed))),
        ("Unknown", str(len(audit.unknown))),
    )
    word = WORDS[audit.feasible]
    text = {True: "feasible", False: "infeasible", None: "unknown"}[audit.feasible]
    return hud(facts, label="The design now", more=f"<div><dt>System</dt><dd>{verdict(word, text)}</dd></div>")


def hud(facts: tuple[tuple[str, str], ...], *, label: str, more: str = "") -> str:
    """Names and figures side by side."""
    items = "".join(f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in facts)
    named = html.escape(label, quote=True)
    return f'<section class="rk" aria-label="{named}"><dl class="hud">{more}{items}</dl></section>'


def before_lock(act: int) -> str:
    """What a person sees where something is still hidden."""
    return note(
        f"Act {act} is open: choose, give your number, and lock it. What comes next is not computed before.", "unknown"
    )


REFLECT: Final = '<div class="rk"><h2>Reflection</h2><p>A sentence each, before you save.</p></div>'
REVEAL_2: Final = '<div class="rk"><h2>What you predicted, and what the brief does</h2></div>'
